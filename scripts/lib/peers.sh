# shellcheck shell=bash disable=SC2153  # VENV and STATE are the caller's
# The sign-in providers of the tests: sourced by scripts/test after common.sh.
#
# SimpleSAMLphp and LemonLDAP::NG are Debian packages, oidc-provider is npm's; the LTI platforms
# are Python packages (the extra "peers"). The tests start and end each by themselves.

# Debian packages that are not installed, of those named.
lacking() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] \
      || printf '%s\n' "$package"
  done
}

# Such as "php8.2"; the package "php" itself would bring Apache.
php_package() {
  apt-cache depends php-cli 2>/dev/null | sed -n 's/^ *Depends: \(php[0-9.]*\)-cli$/\1/p'
}

install_peers() {
  local php
  local -a missing
  if has apt-cache; then
    [ -n "$(php_package)" ] || [ "$(id -u)" -ne 0 ] || update_package_lists
    php=$(php_package)
  fi
  mapfile -t missing < <(lacking simplesamlphp "${php:-php}"-{cli,cgi,xml,mbstring} mini-httpd \
    xmlsec1 libfaketime openssl \
    liblemonldap-ng-portal-perl liblasso-perl libplack-perl libio-string-perl libxml-simple-perl \
    libxml-libxml-perl libstring-random-perl libjson-perl libmime-tools-perl libemail-sender-perl)
  if [ ${#missing[@]} -gt 0 ]; then
    never_start mini-httpd # is there because SimpleSAMLphp asks for some web server
    install_packages "${missing[@]}"
  fi
  install_from_npm "$OPENID_HOME" "$OPENID_PACKAGE" "the OpenID provider of the tests"
}

# Keeps a package that is about to be installed from running a service, now and after a restart.
never_start() {
  local package=$1 unit=/etc/systemd/system/$1.service
  [ -n "$(lacking "$package")" ] && [ "$(id -u)" -eq 0 ] && [ ! -e "$unit" ] || return 0
  mkdir -p "${unit%/*}"
  ln -s /dev/null "$unit"
}
