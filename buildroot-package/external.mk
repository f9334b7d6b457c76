include $(sort $(wildcard $(BR2_EXTERNAL_P2P_PATH)/package/*/*.mk))
