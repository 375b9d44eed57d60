"""Sign-in providers and LTI platforms that nobody here wrote, started for a test and ended after.

`ssp`: SimpleSAMLphp, SAML identity providers. `op`: npm's oidc-provider. `llng`: LemonLDAP::NG, a
second opinion on SAML and OpenID Connect, and a CAS server. `lti_platforms`: Open edX's and
lti1p3platform's LTI 1.3, and two LTI 1.1 consumers. `scripts/test identity` installs them.
"""
