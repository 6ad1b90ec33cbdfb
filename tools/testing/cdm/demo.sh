#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The guided tour, in the guest.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
TOPOLOGY=single TIMEOUT=${TIMEOUT:-600} exec "$TOOLS/vm.sh" "$TOOLS/demo/demo.sh"
