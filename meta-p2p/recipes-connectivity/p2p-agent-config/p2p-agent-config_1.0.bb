SUMMARY = "Options and domain key of p2p-agent"
DESCRIPTION = "What differs from product to product, apart from the program: /etc/default/p2p-agent and, where one is set, the key \
of the devices that share with each other."
SECTION = "net"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# auto: where there are several cores, on a single core only while /config/p2p exists; always; never.
P2P_AGENT_START ?= "auto"
# Options of "p2p-agent run", without quotes.
P2P_AGENT_ARGS ?= ""
# A file on the build machine.
P2P_AGENT_DOMAIN_KEY ?= ""

# Of the product, not of its processor: machines with the same one share a feed.
PACKAGE_ARCH = "${MACHINE_ARCH}"

require recipes-connectivity/p2p-agent/p2p-user.inc

do_install() {
    install -d ${D}${sysconfdir}/default
    arguments="--start ${P2P_AGENT_START}"
    if [ -n "${P2P_AGENT_DOMAIN_KEY}" ]; then
        install -D -m 0440 -g p2p ${P2P_AGENT_DOMAIN_KEY} ${D}${sysconfdir}/p2p-agent/domain.key
        arguments="$arguments --domain-key ${sysconfdir}/p2p-agent/domain.key"
    fi
    cat >${D}${sysconfdir}/default/p2p-agent <<END
# Made from P2P_AGENT_START, P2P_AGENT_DOMAIN_KEY and P2P_AGENT_ARGS. One line, words without quotes.
P2P_AGENT_ARGS="$arguments ${P2P_AGENT_ARGS}"
END
}
do_install[file-checksums] += "${@d.getVar('P2P_AGENT_DOMAIN_KEY') + ':True' if d.getVar('P2P_AGENT_DOMAIN_KEY') else ''}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

CONFFILES:${PN} = "${sysconfdir}/default/p2p-agent"
