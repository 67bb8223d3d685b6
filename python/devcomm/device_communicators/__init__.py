# SPDX-License-Identifier: Apache-2.0
"""The modules of the reference interface, under the same names."""
