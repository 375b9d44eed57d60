<?php
$scope = getenv('IDP_SCOPE');
$uai = getenv('IDP_UAI') ?: '0911101C';
// What a test has changed meanwhile: {"bob": {"eduPersonAffiliation": ["student"]}}
$changed = json_decode(file_get_contents(getenv('IDP_RUN') . '/people.json'), true) ?: [];

$person = function ($uid, $primary, $affiliations) use ($scope, $uai) {
    return [
        'uid' => [$uid],
        'eduPersonPrincipalName' => ["$uid@$scope"],
        'mail' => ["$uid@$scope"],
        'displayName' => [ucfirst($uid) . ' Éàü'],
        'givenName' => [ucfirst($uid)],
        'sn' => ['Éàü'],
        'eduPersonPrimaryAffiliation' => [$primary],
        'eduPersonAffiliation' => $affiliations,
        'eduPersonScopedAffiliation' => array_map(fn($one) => "$one@$scope", $affiliations),
        'supannEtablissement' => ["{UAI}$uai"],
        'pairwise-id' => [strtoupper(substr(sha1($uid), 0, 20)) . "@$scope"],
        'subject-id' => ["$uid@$scope"],
    ];
};

$people = [
    'alice' => $person('alice', 'student', ['member', 'student']),
    'bob' => $person('bob', 'faculty', ['member', 'employee', 'faculty', 'teacher']),
    'carol' => $person('carol', 'staff', ['member', 'employee', 'staff']),
    // a doctoral student who teaches
    'dan' => $person('dan', 'student', ['member', 'student', 'employee', 'teacher']),
    'alum' => $person('alum', 'alum', ['alum']),
    // speaks for another institution
    'mallory' => [
        'eduPersonPrincipalName' => ['bob@univ-b.example'],
        'subject-id' => ['bob@univ-b.example'],
        'eduPersonScopedAffiliation' => ['faculty@univ-b.example'],
        'mail' => ['admin@univ-b.example'],
    ] + $person('mallory', 'faculty', ['member', 'faculty']),
    // an institution that releases nothing of use
    'nobody' => ['uid' => ['nobody']],
];

$accounts = ['exampleauth:UserPass'];
foreach ($people + $changed as $name => $unused) {
    $said = [];
    foreach ($changed[$name] ?? [] as $attribute => $values) {
        $said[str_replace('_', '-', $attribute)] = $values;
    }
    $attributes = array_filter($said + ($people[$name] ?? $person($name, 'student', ['student'])));
    $accounts["$name:$name"] = $attributes;
}

$config = [
    'example-userpass' => $accounts,
    // no form: for a browser that nobody drives
    'static' => ['exampleauth:StaticSource'] + $accounts['bob:bob'],
];
