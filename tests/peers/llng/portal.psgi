# A throw-away LemonLDAP::NG: SAML, OpenID Connect and CAS server (tests/peers/llng.py).
# Everything comes from the environment. Accounts: dwho (faculty), rtyler and msmith (students).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Lemonldap::NG::Portal::Main;
use Plack::Builder;

my $run  = $ENV{LLNG_RUN};
my $url  = "http://127.0.0.1:$ENV{LLNG_PORT}";
my $uri  = 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri';
my $edu  = 'urn:oid:1.3.6.1.4.1.5923.1.1.1';

sub content {
    my ($file) = @_;
    local $/;
    open my $handle, '<', $file or die "$file: $!";
    return scalar <$handle>;
}

my %saml;
if (my $metadata = $ENV{LLNG_SP_METADATA}) {
    %saml = (
        samlSPMetaDataXML     => { hub => { samlSPMetaDataXML => content($metadata) } },
        samlSPMetaDataOptions => {
            hub => {
                samlSPMetaDataOptionsEncryptionMode             => $ENV{LLNG_ENCRYPT} || 'none',
                samlSPMetaDataOptionsSignSSOMessage             => 1,
                samlSPMetaDataOptionsSignatureMethod            => 'RSA_SHA256',
                samlSPMetaDataOptionsCheckSSOMessageSignature   => 1,
                samlSPMetaDataOptionsNameIDFormat               => 'transient',
                samlSPMetaDataOptionsNotOnOrAfterTimeout        => 300,
                samlSPMetaDataOptionsSessionNotOnOrAfterTimeout => 3600,
            }
        },
        samlSPMetaDataExportedAttributes => {
            hub => {
                eppn => "1;$edu.6;$uri;eduPersonPrincipalName",
                affs => "1;$edu.1;$uri;eduPersonAffiliation",
                paff => "0;$edu.5;$uri;eduPersonPrimaryAffiliation",
                saff => "0;$edu.9;$uri;eduPersonScopedAffiliation",
                mail => "0;urn:oid:0.9.2342.19200300.100.1.3;$uri;mail",
                cn   => "0;urn:oid:2.16.840.1.113730.3.1.241;$uri;displayName",
            }
        },
    );
}

my %cas;
if (my $service = $ENV{LLNG_CAS_SERVICE}) {
    %cas = (
        issuerDBCASActivation => 1,
        casAccessControlPolicy => 'error',    # an unknown service gets no ticket
        casAppMetaDataOptions => {
            hub => {
                casAppMetaDataOptionsService       => $service,
                casAppMetaDataOptionsUserAttribute => 'uid',
            }
        },
        casAppMetaDataExportedVars => {
            hub => {
                mail                        => 'mail',
                displayName                 => 'cn',
                eduPersonPrincipalName      => 'eppn',
                eduPersonAffiliation        => 'affs',
                eduPersonPrimaryAffiliation => 'paff',
            }
        },
    );
}

my $portal = Lemonldap::NG::Portal::Main->run({
    configStorage        => { type => 'File', dirName => "$run/conf" },
    logLevel             => 'info',
    domain               => '127.0.0.1',
    portal               => "$url/",
    securedCookie        => 0,
    sameSite             => 'Lax',    # None, its default with SAML, is not kept without https
    cookieName           => 'lemonldap',
    globalStorage        => 'Apache::Session::File',
    globalStorageOptions => {
        Directory      => "$run/sessions",
        LockDirectory  => "$run/sessions/lock",
        generateModule => 'Lemonldap::NG::Common::Apache::Session::Generate::SHA256',
    },
    persistentStorage        => 'Apache::Session::File',
    persistentStorageOptions =>
      { Directory => "$run/psessions", LockDirectory => "$run/psessions/lock" },
    localSessionStorageOptions => {
        cache_root         => "$run/cache",
        namespace          => 'llng',
        default_expires_in => 600,
        cache_depth        => 3,
        directory_umask    => '007',
    },
    templateDir                 => '/usr/share/lemonldap-ng/portal/templates',
    staticPrefix                => '/static',
    languages                   => 'fr, en',
    authentication              => 'Demo',
    userDB                      => 'Same',
    passwordDB                  => 'Null',
    requireToken                => 0,
    captcha                     => 'NoCaptcha',
    captcha_mail_enabled        => 0,
    captcha_register_enabled    => 0,
    captcha_login_enabled       => 0,
    portalDisplayResetPassword  => 0,
    portalDisplayRegister       => 0,
    portalDisplayChangePassword => 0,
    key                         => 'only-for-tests-only',
    macros                      => {
        eppn => '"$uid\@univ-llng.example"',
        affs => '$uid eq "dwho" ? "member; employee; faculty" : "member; student"',
        paff => '$uid eq "dwho" ? "faculty" : "student"',
        saff => 'join("; ", map {"$_\@univ-llng.example"} split(/; /, $affs))',
    },

    # SAML
    issuerDBSAMLActivation      => 1,
    samlEntityID                => 'https://idp.univ-llng.example/saml/metadata',
    samlOrganizationName        => 'Univ LLNG',
    samlOrganizationDisplayName => 'Univ LLNG',
    samlOrganizationURL         => 'http://univ-llng.example/',
    samlServicePrivateKeySig    => content("$run/saml.pem"),
    samlServicePublicKeySig     => content("$run/saml.crt"),
    samlServiceSignatureMethod  => 'RSA_SHA256',
    %saml,

    # OpenID Connect
    issuerDBOpenIDConnectActivation      => 1,
    issuerDBOpenIDConnectRule            => 1,
    oidcServiceMetaDataIssuer            => $url,
    oidcServicePrivateKeySig             => content("$run/oidc.pem"),
    oidcServicePublicKeySig              => content("$run/oidc.pub"),
    oidcServiceKeyIdSig                  => 'k1',
    oidcServiceAllowAuthorizationCodeFlow => 1,
    oidcServiceMetaDataAuthnContext      => { map { ("loa-$_" => $_) } 1 .. 5 },
    oidcRPMetaDataOptions                => {
        hub => {
            oidcRPMetaDataOptionsClientID              => 'mydocker',
            oidcRPMetaDataOptionsClientSecret          => 'only-for-tests-only-for-tests-only',
            oidcRPMetaDataOptionsIDTokenSignAlg        => 'RS256',
            oidcRPMetaDataOptionsBypassConsent         => 1,
            oidcRPMetaDataOptionsRedirectUris          => $ENV{LLNG_REDIRECT_URIS} || '',
            oidcRPMetaDataOptionsIDTokenExpiration     => 3600,
            oidcRPMetaDataOptionsAccessTokenExpiration => 3600,
            oidcRPMetaDataOptionsUserIDAttr            => 'uid',
        }
    },
    oidcRPMetaDataExportedVars => {
        hub => {
            email                         => 'mail',
            name                          => 'cn',
            eduperson_principal_name      => 'eppn',
            # auto: an array for several values, a string for one
            eduperson_affiliation         => 'affs;string;' . ($ENV{LLNG_ARRAY} || 'auto'),
            eduperson_primary_affiliation => 'paff',
            eduperson_scoped_affiliation  => 'saff;string;always',
        }
    },
    oidcRPMetaDataOptionsExtraClaims => {
        hub => {
            eduperson => 'eduperson_principal_name eduperson_affiliation '
              . 'eduperson_primary_affiliation eduperson_scoped_affiliation',
        }
    },

    %cas,
});

# A web server's part: without these scripts a browser does not send the answer.
builder {
    enable 'Static',
      path => sub { s{^/static/+}{} },
      root => '/usr/share/lemonldap-ng/portal/htdocs/static';
    enable 'Static', path => sub { s{^/javascript/}{} }, root => '/usr/share/javascript';
    $portal;
};
