#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds a wheel that carries the library of build folder $1, installs it into a
# fresh virtual environment, and runs mypy and the tests of tests/python on it.
# What it takes are the distribution's packages: nothing is fetched.
set -eu

build=$1
shift
python=${DEVCOMM_PYTHON:-/usr/bin/python3}
for module in cffi numpy pytest setuptools wheel pip venv mypy; do
    "$python" -c "import $module" 2>/dev/null || {
        echo "$python has no $module: skipped (scripts/deps.sh test)"
        exit 77
    }
done
dir=$build/python
rm -rf "$dir"
mkdir -p "$dir"
# A copy: setuptools writes beside its sources.
git ls-files -co --exclude-standard pyproject.toml setup.py python include |
    xargs cp --parents -t "$dir"
(
    cd "$dir"
    DEVCOMM_LIBRARY=$build/src/libdevcomm.so.0 "$python" -m pip wheel -q \
        --no-build-isolation --no-index --no-deps -w wheel . >wheel.log 2>&1 ||
        {
            cat wheel.log
            exit 1
        }
    "$python" -m venv --system-site-packages venv
    venv/bin/python -m pip install -q --no-index --no-deps \
        --disable-pip-version-check wheel/*.whl
)
PATH=$build:$PATH
DEVCOMM_TEST_BUILD=$build
export PATH DEVCOMM_TEST_BUILD
"$python" -m mypy --no-error-summary --cache-dir "$dir/mypy"
"$dir/venv/bin/python" -m pytest "$@"
