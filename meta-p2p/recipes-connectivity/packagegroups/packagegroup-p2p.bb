SUMMARY = "A player that shares large files with its neighbours"
DESCRIPTION = "The daemon and its configuration. A sync client is the product's choice: p2p-fetch is one."
SECTION = "net"

inherit packagegroup

RDEPENDS:${PN} = "p2p-agent p2p-agent-config"
