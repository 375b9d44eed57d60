"""SAML 2.0: the federation's metadata, and the only package that knows pysaml2."""
