SUMMARY = "Lets the devices of a site get large files from each other"
DESCRIPTION = "A daemon for signage players behind one uplink: a file that all of them are to get crosses the uplink once, \
and they take it from each other. Nothing to configure, no server at the site, and the local network is not trusted."
SECTION = "net"
# With those of the crates, which are linked statically: .ci/notices.
LICENSE = "MIT & Apache-2.0 & BSD-3-Clause & CDLA-Permissive-2.0 & ISC"
LICENSE:${PN} = "MIT & Apache-2.0 & BSD-3-Clause"
LIC_FILES_CHKSUM = "\
    file://LICENSE;md5=6f46e21fe9633e353d397da4071e077a \
    file://debian/THIRD-PARTY;md5=710a684ce547fcca01c43007fb02f40f \
"

require ${BPN}-crates.inc

# The clone that holds this layer; or, for a layer that was copied out of it, a repository:
#   P2P_AGENT_GIT = "git://example.com/p2p-agent;protocol=https;branch=main"
#   SRCREV:pn-p2p-agent = "..."
P2P_AGENT_GIT ?= ""
P2P_AGENT_SOURCES = "Cargo.toml Cargo.lock LICENSE src tests debian"
FILESEXTRAPATHS:prepend := "${P2P_TREE}:"
SRC_URI += "${@d.getVar('P2P_AGENT_GIT') + ';destsuffix=${BP}' if d.getVar('P2P_AGENT_GIT') else \
    ' '.join('file://%s;subdir=${BP}' % name for name in d.getVar('P2P_AGENT_SOURCES').split())}"

inherit cargo cargo-update-recipe-crates update-rc.d systemd
require p2p-user.inc

PACKAGECONFIG ??= ""
# The sync client, in a package of its own.
PACKAGECONFIG[fetch] = ",--no-default-features"

# Stripped by Yocto, which wants the symbols for its -dbg package.
CARGO_BUILD_FLAGS += "--config profile.release.strip=false"

# Crates with C or assembler (ring, of p2p-fetch) lie outside S: without this their paths are in the -dbg package.
DEBUG_PREFIX_MAP:append = " -ffile-prefix-map=${CARGO_HOME}=${TARGET_DBGSRC_DIR}/cargo_home"

INITSCRIPT_NAME = "p2p-agent"
INITSCRIPT_PARAMS = "defaults 60 20"
SYSTEMD_SERVICE:${PN} = "p2p-agent.service"

do_install:append() {
    install -d -m 0755 ${D}${localstatedir}/lib/p2p/content
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -D -m 0755 ${S}/debian/p2p-agent.init ${D}${sysconfdir}/init.d/p2p-agent
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/debian/p2p-agent.service ${S}/debian/p2p-agent-why.service
        install -D -m 0644 ${S}/debian/p2p-agent.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/p2p-agent.conf
    fi
}

PACKAGES =+ "p2p-fetch"
SUMMARY:p2p-fetch = "Sync client: from p2p-agent what it has, the rest by HTTPS"
FILES:p2p-fetch = "${bindir}/p2p-fetch"
FILES:${PN} += "${systemd_system_unitdir}/p2p-agent-why.service ${localstatedir}/lib/p2p ${nonarch_libdir}/tmpfiles.d"
RRECOMMENDS:${PN} += "p2p-agent-config"

python () {
    # scarthgap's own Rust is 1.75.
    rust = (d.getVar('RUSTVERSION') or '').rstrip('%')
    if rust and bb.utils.vercmp_string_op(rust, '1.85', '<'):
        raise bb.parse.SkipRecipe('it needs Rust 1.85 or later, this is %s: add the Rust mixin layer, see the README of meta-p2p' % rust)
}
