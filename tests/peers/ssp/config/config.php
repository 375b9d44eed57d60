<?php
// A throw-away identity provider: everything comes from the environment (tests/peers/ssp.py).
$run = getenv('IDP_RUN');
$sp = getenv('IDP_SP_METADATA');

$config = [
    'baseurlpath' => 'http://127.0.0.1:' . getenv('IDP_PORT') . '/simplesaml/',
    'certdir' => "$run/cert/",
    'loggingdir' => "$run/",
    'datadir' => "$run/",
    'tempdir' => "$run/tmp",
    'timezone' => 'UTC',
    // Debian keeps it here, and not below the program: without it the first sign-in fails.
    'attributenamemapdir' => '/etc/simplesamlphp/attributemap/',
    'secretsalt' => 'only-for-tests-0123456789abcdef',
    'auth.adminpassword' => 'only-for-tests',
    'technicalcontact_name' => 'Test',
    'technicalcontact_email' => 'na@example.org',
    'admin.checkforupdates' => false,
    'assertion.allowed_clock_skew' => 180,
    'enable.saml20-idp' => true,
    'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
    'logging.level' => SimpleSAML\Logger::DEBUG,
    'logging.handler' => 'file',
    'logging.logfile' => 'ssp.log',
    'statistics.out' => [],
    'showerrors' => true,
    'errorreporting' => false,
    'store.type' => 'phpsession',
    'session.phpsession.savepath' => $run,
    // plain HTTP on loopback
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
    'language.cookie.secure' => false,
    'language.cookie.samesite' => null,
    'language.available' => ['en', 'fr'],
    'language.default' => 'fr',
    'metadatadir' => getenv('IDP_CONFIG') . '/metadata/',
    // The service provider's own metadata, unmodified, beside the identity provider's own.
    'metadata.sources' => array_merge(
        [['type' => 'flatfile']],
        is_file($sp) ? [['type' => 'xml', 'file' => $sp]] : []
    ),
    'authproc.idp' => [],
    'trusted.url.domains' => null,
    'theme.use' => 'default',
    'template.cache' => '',
];
