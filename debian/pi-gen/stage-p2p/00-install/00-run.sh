#!/bin/bash -e
# Installs p2p-agent from a package that is at hand: in P2P_AGENT_DEBS, in files/ beside this script (for build-docker.sh, which sees
# nothing outside of pi-gen), or where .ci/arm-debs of this repository leaves it. Settings, exported in pi-gen's config:
#
#   P2P_AGENT_DEBS   the directory of the package for pi-gen's ARCH
#   P2P_AGENT_ARGS   options of the agent, for /etc/default/p2p-agent

deb=
for place in "${P2P_AGENT_DEBS:-files}" files ../../../../target/debs; do
	for found in "${place}/p2p-agent_"*"_${ARCH}.deb"; do
		[ ! -e "${found}" ] || deb=${found}
	done
	[ -z "${deb}" ] || break
done
if [ -z "${deb}" ]; then
	log "stage-p2p: there is no p2p-agent_*_${ARCH}.deb in P2P_AGENT_DEBS, ${PWD}/files or the clone's target/debs; .ci/arm-debs makes it"
	exit 1
fi
log "stage-p2p: ${deb}"

# Not /tmp, which is another one in there.
here=/var/cache/p2p-agent.deb
install -m 644 "${deb}" "${ROOTFS_DIR}${here}"
on_chroot << EOF
apt-get -o Acquire::Retries=3 install -y --no-install-recommends ${here}
EOF
rm "${ROOTFS_DIR}${here}"

# The switch is where a person with a card reader finds it: no-p2p on the boot partition.
if [ ! -e "${ROOTFS_DIR}/config" ] && [ ! -L "${ROOTFS_DIR}/config" ]; then
	ln -s boot/firmware "${ROOTFS_DIR}/config"
fi

# In the file that a person at the device looks into and edits: dpkg keeps a changed one through upgrades. A drop-in of the unit
# would win over it unseen.
if [ -n "${P2P_AGENT_ARGS}" ]; then
	options=${ROOTFS_DIR}/etc/default/p2p-agent
	sed -i '/^P2P_AGENT_ARGS=/d' "${options}"
	printf 'P2P_AGENT_ARGS="%s"\n' "${P2P_AGENT_ARGS}" >> "${options}"
fi
