<?php
$scope = getenv('IDP_SCOPE');
$name = getenv('IDP_NAME');
$title = [
    'fr' => getenv('IDP_TITLE_FR') ?: "Université $name",
    'en' => getenv('IDP_TITLE_EN') ?: "University $name",
];

$metadata[getenv('IDP_ENTITY')] = [
    'host' => '__DEFAULT__',
    'privatekey' => "$name.pem",
    'certificate' => "$name.crt",
    'auth' => getenv('IDP_AUTH') ?: 'example-userpass',
    'scope' => [$scope],
    'OrganizationName' => $title,
    'OrganizationDisplayName' => $title,
    'OrganizationURL' => ['fr' => "https://$scope/", 'en' => "https://$scope/"],
    'UIInfo' => ['DisplayName' => $title],
    'attributes.NameFormat' => 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri',
    'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient',
    'signature.algorithm' => getenv('IDP_SIGALG')
        ?: 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    'saml20.sign.response' => getenv('IDP_SIGN_RESPONSE') !== '0',
    'saml20.sign.assertion' => getenv('IDP_SIGN_ASSERTION') !== '0',
    'assertion.encryption' => getenv('IDP_ENCRYPT') === '1',
    'redirect.sign' => true,
    'redirect.validate' => getenv('IDP_WANT_SIGNED') === '1',
    'authproc' => [
        100 => [
            'class' => 'core:AttributeMap',
            'name2oid',
            'supannEtablissement' => 'urn:oid:1.3.6.1.4.1.7135.1.2.1.14',
            'pairwise-id' => 'urn:oasis:names:tc:SAML:attribute:pairwise-id',
            'subject-id' => 'urn:oasis:names:tc:SAML:attribute:subject-id',
        ],
    ],
];
