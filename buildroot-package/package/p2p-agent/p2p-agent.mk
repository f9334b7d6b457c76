################################################################################
#
# p2p-agent
#
################################################################################

P2P_AGENT_VERSION = 0.1.0
P2P_AGENT_SOURCE = p2p-agent-$(P2P_AGENT_VERSION)-vendored.tar.gz
# With those of the crates, which are linked statically: .ci/notices.
P2P_AGENT_LICENSE = MIT, Apache-2.0, BSD-3-Clause
P2P_AGENT_LICENSE_FILES = LICENSE debian/THIRD-PARTY

ifeq ($(BR2_PACKAGE_P2P_AGENT_FROM_RELEASE),y)
P2P_AGENT_SITE = $(call qstrip,$(BR2_PACKAGE_P2P_AGENT_SITE))
ifeq ($(BR_BUILDING)$(P2P_AGENT_SITE),y)
$(error BR2_PACKAGE_P2P_AGENT_SITE is empty: where is the release tarball?)
endif
else
P2P_AGENT_SITE = $(BR2_EXTERNAL_P2P_PATH)/..
P2P_AGENT_SITE_METHOD = local
# "make legal-info" would pack whatever lies in the clone, and no crates.
P2P_AGENT_REDISTRIBUTE = NO
endif

# Only for a source tree, local or by P2P_AGENT_OVERRIDE_SRCDIR.
P2P_AGENT_EXCLUSIONS = --exclude /target --exclude /dist --exclude /VENDOR
P2P_AGENT_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = $(P2P_AGENT_EXCLUSIONS)

# A tarball brings its crates, a source tree does not: they are got when those
# of this Cargo.lock are not there, whole. P2P_AGENT_DL_ENV is where Buildroot
# keeps what cargo has downloaded.
define P2P_AGENT_VENDOR
	cd $(@D) && { cmp -s Cargo.lock VENDOR/.lock || { \
		rm -rf VENDOR && mkdir -p .cargo && \
		$(HOST_MAKE_ENV) $(P2P_AGENT_DL_ENV) \
			cargo vendor --locked --versioned-dirs VENDOR \
			> .cargo/config.toml && \
		cp Cargo.lock VENDOR/.lock; }; }
endef
P2P_AGENT_PRE_CONFIGURE_HOOKS += P2P_AGENT_VENDOR

# Buildroot sets the release profile by environment. This is Cargo.toml's
# again, which is what the project's figures are measured with.
P2P_AGENT_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

# Messages of panics name source files: without this by their full path, so
# that every build directory gives other bytes. As .ci/remap does it.
P2P_AGENT_CARGO_BUILD_OPTS = \
	--config "target.'cfg(all())'.rustflags=['--remap-path-prefix=$(@D)/VENDOR/=/crates/']"

ifeq ($(BR2_PACKAGE_P2P_AGENT_FETCH),)
P2P_AGENT_CARGO_BUILD_OPTS += --no-default-features
else
P2P_AGENT_LICENSE += , CDLA-Permissive-2.0 (p2p-fetch), ISC (p2p-fetch)
endif

# Other options than those of the build would compile it again.
P2P_AGENT_CARGO_INSTALL_OPTS = $(P2P_AGENT_CARGO_BUILD_OPTS)

define P2P_AGENT_USERS
	p2p $(BR2_PACKAGE_P2P_AGENT_UID) p2p $(BR2_PACKAGE_P2P_AGENT_UID) * - - - p2p-agent
endef

# The sync client writes the content directory: give it to its user.
define P2P_AGENT_PERMISSIONS
	/var/lib/p2p d 755 root root - - - - -
	/var/lib/p2p/content d 755 root root - - - - -
	$(P2P_AGENT_KEY_PERMISSIONS)
endef

P2P_AGENT_ARGS = --start $(call qstrip,$(BR2_PACKAGE_P2P_AGENT_START))

P2P_AGENT_KEY = $(call qstrip,$(BR2_PACKAGE_P2P_AGENT_DOMAIN_KEY))
ifneq ($(P2P_AGENT_KEY),)
P2P_AGENT_ARGS += --domain-key /etc/p2p-agent/domain.key
define P2P_AGENT_INSTALL_KEY
	$(INSTALL) -D -m 0440 $(P2P_AGENT_KEY) \
		$(TARGET_DIR)/etc/p2p-agent/domain.key
endef
P2P_AGENT_POST_INSTALL_TARGET_HOOKS += P2P_AGENT_INSTALL_KEY

P2P_AGENT_KEY_PERMISSIONS = /etc/p2p-agent/domain.key f 440 root p2p - - - - -
endif

# What the person wrote comes last, and so wins.
P2P_AGENT_ARGS += $(call qstrip,$(BR2_PACKAGE_P2P_AGENT_ARGS))

define P2P_AGENT_INSTALL_DEFAULT
	mkdir -p $(TARGET_DIR)/etc/default $(TARGET_DIR)/var/lib/p2p/content
	sed 's|^P2P_AGENT_ARGS=.*|P2P_AGENT_ARGS="$(strip $(P2P_AGENT_ARGS))"|' \
		$(@D)/debian/p2p-agent.default \
		> $(TARGET_DIR)/etc/default/p2p-agent
endef
P2P_AGENT_POST_INSTALL_TARGET_HOOKS += P2P_AGENT_INSTALL_DEFAULT

define P2P_AGENT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/debian/p2p-agent.init \
		$(TARGET_DIR)/etc/init.d/S60p2p-agent
endef

define P2P_AGENT_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 -t $(TARGET_DIR)/usr/lib/systemd/system \
		$(@D)/debian/p2p-agent.service $(@D)/debian/p2p-agent-why.service
	$(INSTALL) -D -m 0644 $(@D)/debian/p2p-agent.tmpfiles \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/p2p-agent.conf
endef

$(eval $(cargo-package))
