# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# In the guest, before the command: bring the device nodes of the topology
# online, by the owner driver or (flavours base, unfenced) as ordinary nodes by dax-kmem.
# vm.sh sets the variables.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp CDM_DISK=/dev/loop0 CDM_SWAP=/dev/pmem1

setup_failed() {
	echo "cdm: $*" >&2
	exit 97
}

# Every device node of the topology must have memory now.
expect_nodes() {
	local nid
	for nid in $CDM_DEVICE_NODES; do
		[[ -e /sys/devices/system/node/node$nid ]] || setup_failed "node $nid is not online"
		grep -q "^Node $nid MemTotal: *[1-9]" "/sys/devices/system/node/node$nid/meminfo" ||
			setup_failed "node $nid has no memory"
	done
}

owner_driver() {
	modprobe "$CDM_DRIVER" || setup_failed "the owner driver $CDM_DRIVER does not load: $(dmesg | tail -3)"
	[[ -e /sys/devices/system/node/has_coherent_device ]] ||
		setup_failed "this kernel knows no coherent device nodes"
}

unfenced() {
	echo online_movable >/sys/devices/system/memory/auto_online_blocks
	modprobe kmem
	modprobe dax_hmem
}

# A disk that is done with a request some time after it was asked.
losetup --direct-io=on "$CDM_DISK" /dev/pmem0 || setup_failed "no disk"
if [[ -n $CDM_DEVICE_NODES ]]; then
	case $CDM_FLAVOUR in
	default | debug)
		owner_driver
		expect_nodes
		;;
	base | unfenced)
		unfenced
		expect_nodes
		;;
	esac
fi
