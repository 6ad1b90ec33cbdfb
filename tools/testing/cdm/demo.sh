#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The guided tour, in the guest, where the device is an accelerator.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export CDM_DRIVER=cdm_accel TOPOLOGY=single TIMEOUT=${TIMEOUT:-600}
exec "$TOOLS/vm.sh" "$TOOLS/demo/demo.sh"
