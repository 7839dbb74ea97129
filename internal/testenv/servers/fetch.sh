#!/usr/bin/env bash
# Fetches the mail servers that the tests run against, and the programs that the benchmark measures, as
# Debian packages, and unpacks them into a private folder. Nothing is installed, no service is
# started, and no root is needed.
#
# Usage: fetch.sh [dovecot] [dovecot-pop3] [cyrus] [courier] [courier-pop3] [isync] [interimap] [mpop] [fetchmail] [getmail]
# The servers are fetched by default. dovecot-pop3 is a whole Dovecot, courier-pop3 what is added to courier.
#
# It ends with 0 if all are there, with 1 if one could not be had; each such one is named. The
# folder is $SATCHEL_TEST_SERVERS, or /var/cache/satchel-test-servers for root (whose own cache the
# unprivileged user that runs the servers can't read), or satchel-test-servers in the cache folder.
set -euo pipefail

version=5 # of this script's way to unpack: another number makes the next run fetch anew

if [ -n "${SATCHEL_TEST_SERVERS:-}" ]; then
	cache=$SATCHEL_TEST_SERVERS
elif [ "$(id -u)" = 0 ]; then
	cache=/var/cache/satchel-test-servers
else
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/satchel-test-servers
fi

# packages names what a server consists of; the libraries that they need are found by apt.
packages() {
	case $1 in
	dovecot) echo dovecot-core dovecot-imapd ;;
	dovecot-pop3) echo dovecot-core dovecot-imapd dovecot-pop3d ;; # of one version
	cyrus) echo cyrus-common cyrus-imapd libsasl2-modules libsasl2-modules-db ;;
	courier) echo courier-base courier-imap courier-authlib ;;
	courier-pop3) echo courier-pop ;;
	isync) echo isync ;;
	interimap) echo interimap ;; # its modules are packages called lib*-perl; perl itself must be there
	mpop) echo mpop ;;
	fetchmail) echo fetchmail ;;
	getmail) echo getmail6 ;; # python3 itself must be there
	*) echo "fetch.sh: there is no $1" >&2 && exit 2 ;;
	esac
}

# apt runs with the machine's own lists or, where they are missing or stale and can't be
# renewed there, with lists of our own.
own_lists=
apt() {
	local command=$1
	shift
	if [ -n "$own_lists" ]; then
		set -- -o "Dir::State::lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt/cache" "$@"
	fi
	command "$command" -o APT::Sandbox::User= -o Debug::NoLocking=true "$@"
}

use_own_lists() {
	own_lists=yes
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
	echo "mail servers: reading the package lists"
	apt apt-get update -qq
}

# libraries lists what apt would install besides, as far as it is libraries: the programs and
# services that come along (a mail transport agent, for one) are not run.
libraries() {
	apt apt-get install -s -y -qq --no-install-recommends "$@" |
		sed -n 's/^Inst \(lib[^ ]*\) .*/\1/p' | { grep -v -e '-dev$' -e '^libc6$' -e '^libc-bin$' || true; }
}

download() { # server, folder
	local main libs
	main=$(packages "$1")
	# shellcheck disable=SC2086 # lists of package names
	libs=$(libraries $main) && (cd "$2" && apt apt-get download -qq $main $libs)
}

fetch() {
	local server=$1 work
	if [ "$(cat "$cache/$server/.complete" 2>/dev/null)" = "$version" ]; then
		return 0
	fi
	if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
		echo "mail servers: no $server: this machine has no apt-get to fetch it with" >&2
		return 1
	fi
	work=$(mktemp -d "$cache/$server.XXXXXX")
	chmod 755 "$work"
	mkdir "$work/debs" "$work/root"
	echo "mail servers: fetching $server"
	if ! download "$server" "$work/debs" 2>"$work/errors"; then
		if ! { use_own_lists && download "$server" "$work/debs"; } 2>>"$work/errors"; then
			echo "mail servers: no $server: its packages can't be downloaded:" >&2
			sed 's/^/    /' "$work/errors" >&2
			rm -rf "$work"
			return 1
		fi
	fi
	local deb
	for deb in "$work"/debs/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
	case $server in
	dovecot | dovecot-pop3) relocate_dovecot "$work/root/usr/lib/dovecot" ;;
	courier) hurry_courier "$work/root/usr/lib" ;;
	esac
	echo "$version" >"$work/root/.complete"
	rm -rf "${cache:?}/$server"
	mv "$work/root" "$cache/$server"
	rm -rf "$work"
}

# Dovecot looks for its modules at a path that was compiled in and that no setting changes. It
# becomes one of the same length relative to the working directory, which is the base_dir of the
# instance: there the tests put a link to the modules.
relocate_dovecot() {
	LC_ALL=C sed -i 's#/usr/lib/dovecot/modules#././././././././/modules#g' \
		"$1"/libdovecot.so.0.0.0 "$1"/auth "$1"/config
}

# Courier looks for a file alteration monitor, sleeping 25 times for 50 ms before it does without.
# Calling another function than usleep in that place spares the sleep.
hurry_courier() {
	LC_ALL=C sed -i 's#\x00usleep\x00#\x00getpid\x00#' "$1"/*/libfam.so.0.0.0 "$1"/*/libgamin-1.so.0.*
}

mkdir -p "$cache"
if command -v flock >/dev/null; then # another run may be fetching just now
	exec 9>"$cache/.lock"
	flock 9
fi

missing=0
servers=("$@")
[ $# -gt 0 ] || servers=(dovecot dovecot-pop3 cyrus courier courier-pop3)
for server in "${servers[@]}"; do
	fetch "$server" || missing=1
done
exit $missing
