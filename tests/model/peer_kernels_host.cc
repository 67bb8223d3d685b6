// SPDX-License-Identifier: Apache-2.0
// The kernels for the host; a .cu file would be taken for another language.
#include "backend/peer/kernels/image.cu"
