<?php
// PHP's own server gives no PATH_INFO where a later part of the path holds a dot.
$root = '/usr/share/simplesamlphp/www';
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$kinds = ['css' => 'text/css', 'js' => 'text/javascript', 'png' => 'image/png'];
if (preg_match('#^/simplesaml/resources/[\w/-]+(?:\.[\w-]+)*\.(css|js|png)$#', $path, $part)) {
    header('Content-Type: ' . $kinds[$part[1]]);
    @readfile($root . substr($path, strlen('/simplesaml')));
    exit;
}
if (!preg_match('#^/simplesaml/((?:[\w-]+/)*[\w-]+\.php)(/.*)?$#', $path, $part)) {
    http_response_code($path === '/favicon.ico' ? 204 : 404);
    exit;
}
$file = "$root/{$part[1]}";
if (strpos(realpath($file) ?: '', $root) !== 0) {
    http_response_code(404);
    exit;
}
$_SERVER['SCRIPT_FILENAME'] = $file;
$_SERVER['SCRIPT_NAME'] = "/simplesaml/{$part[1]}";
$_SERVER['PHP_SELF'] = $_SERVER['SCRIPT_NAME'] . ($part[2] ?? '');
if (isset($part[2])) {
    $_SERVER['PATH_INFO'] = $part[2];
} else {
    unset($_SERVER['PATH_INFO']);
}
chdir(dirname($file));
require $file;
