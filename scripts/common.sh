# Shared by scripts/quickstart, scripts/test and .ci/run: find a Python, make .venv, install what is wanted.
# Sourced, not run. Everything it says goes to stderr.
#
#   prepare core   what capbench needs to run
#   prepare all    torch, every extra and the development tools as well (holds core)
#
# Set CAPBENCH_PYTHON to choose the Python that .venv is made from.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/capbench-setup.txt # written when an installation is complete
torch=torch==2.13.0
began=$SECONDS

say() { printf '%s\n' "$*" >&2; }

stop() { # exit 3: this machine lacks something
    say "Error: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 3
}

# What a Python says of itself: "3.11.7 ok", "3.9.2 old", or "3.11.2 bare" where venv or pip can't be had.
describe_python() {
    "$1" -c '
import importlib.util, sys
version = ".".join(map(str, sys.version_info[:3]))
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    print(version, "old" if sys.version_info[:2] < (3, 11) else "new")
elif not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
    print(version, "bare")
else:
    print(version, "ok")
' 2>/dev/null </dev/null
}

find_python() { # sets $python
    local candidate about seen= bare=
    for candidate in ${CAPBENCH_PYTHON:+"$CAPBENCH_PYTHON"} python3 python3.12 python3.11 python3.13 python; do
        about=$(describe_python "$candidate") || about=
        case $about in
        *" ok")
            python=$candidate
            return
            ;;
        *" bare") bare=${bare:-${about% *}} ;;
        esac
        if [[ -n $about ]]; then seen+="${seen:+, }$candidate is ${about% *}"; fi
        if [[ -n ${CAPBENCH_PYTHON:-} && $candidate == "$CAPBENCH_PYTHON" ]]; then
            stop "Expected CAPBENCH_PYTHON to be a Python 3.11, 3.12 or 3.13 with venv, got: $CAPBENCH_PYTHON${about:+ ($about)}"
        fi
    done
    if [[ -n $bare ]]; then
        stop "Python $bare is here, but without its venv module." \
            "Debian, Ubuntu: sudo apt-get install python3-venv (or python${bare%.*}-venv)" \
            "elsewhere: install Python from https://www.python.org/downloads"
    fi
    stop "Expected Python 3.11, 3.12 or 3.13 (OpenSim has packages for no other); found ${seen:-none}." \
        "Debian 12, Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv" \
        "macOS: brew install python@3.12" \
        "with uv: uv python install 3.12, then CAPBENCH_PYTHON=\$(uv python find 3.12) $0" \
        "elsewhere: install it from https://www.python.org/downloads, then CAPBENCH_PYTHON=/path/to/python $0"
}

# Everything that must be as it was for an installation to count as still good, but for its extent.
fingerprint() {
    printf 'place %s\n' "$venv"
    printf 'wants %s\n' "$torch"
    cksum <"$root/pyproject.toml"
    cksum <"$root/constraints.txt"
}

venv_works() { # not moved, not half made, its Python still there and the one asked for
    local about wanted
    [[ -x $venv/bin/python && -f $venv/pyvenv.cfg ]] || return 1
    about=$("$venv/bin/python" -c '
import sys
print(".".join(map(str, sys.version_info[:3])), sys.prefix)' 2>/dev/null </dev/null) || return 1
    [[ ${about#* } == "$venv" ]] || return 1
    grep -qF "$venv" "$venv/bin/pip" 2>/dev/null || return 1 # scripts name their Python by its full path
    if [[ -n ${CAPBENCH_PYTHON:-} ]]; then
        wanted=$(describe_python "$CAPBENCH_PYTHON") || wanted=
        [[ ${wanted% *} == "${about% *}" ]] || return 1
    fi
}

installed() { # installed LEVEL: whether what is there is complete, current and holds LEVEL
    local level
    [[ -f $stamp ]] || return 1
    level=$(head -n 1 "$stamp")
    [[ $level == all || $level == "$1" ]] || return 1
    [[ $(tail -n +2 "$stamp") == "$(fingerprint)" ]]
}

make_venv() {
    if venv_works; then return; fi
    if [[ -e $venv || -L $venv ]]; then
        if [[ ! -L $venv && ! -f $venv/pyvenv.cfg && -n $(ls -A "$venv") ]]; then
            stop "Expected $venv to be a Python environment; it is something else." "move it away and try again"
        fi
        say "The environment in .venv is broken, was moved, or is of another Python: making it anew."
        rm -rf -- "$venv"
    fi
    find_python
    say "Making .venv with $("$python" --version 2>&1) …"
    "$python" -m venv "$venv" >&2 || stop "$python could not make an environment in $venv."
}

pip_install() { # quiet: what goes wrong is still told
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
        -c "$root/constraints.txt" "$@" >&2 </dev/null ||
        stop "The installation did not finish; the lines above say why." \
            "The first run needs a network. Running the same command again goes on where this stopped."
}

check_space() { # check_space MEGABYTES: a word in advance, as pip's own comes late
    local free
    free=$(df -Pm "$root" 2>/dev/null | awk 'NR == 2 { print $4 }') || free=
    if [[ $free =~ ^[0-9]+$ ]] && ((free < $1)); then
        say "Note: $free MB are free here; this may need $1 MB."
    fi
}

install_packages() { # install_packages LEVEL
    rm -f -- "$stamp"
    if [[ $1 == core ]]; then check_space 1500; else check_space 4000; fi
    pip_install hatchling editables # what builds capbench itself, in the version that constraints.txt names
    if [[ $1 == core ]]; then
        say "Installing capbench and what it needs (about a minute) …"
        pip_install --no-build-isolation -e "$root"
    else
        say "Installing torch (about a minute) …"
        pip_install "$torch" # first and alone, so that no extra can bring another build of it
        say "Installing every extra and the development tools (about a minute) …"
        pip_install --no-build-isolation -e "${root}[all,dev]"
    fi
    { printf '%s\n' "$1" && fingerprint; } >"$stamp.part"
    mv -- "$stamp.part" "$stamp"
    say "Installed in $((SECONDS - began)) s."
}

refuse_torchvision() {
    local found
    found=$(compgen -G "$venv/lib/python3.*/site-packages/torchvision" || true)
    if [[ -n $found ]]; then
        stop "torchvision is in .venv, where it must not be: beside a CPU torch it breaks transformers." \
            "'$venv/bin/python' -m pip uninstall -y torchvision"
    fi
}

prepare() { # prepare core|all: afterwards $venv/bin/python can do the job
    # another environment, or a user's own pip habits, must not leak into ours
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX
    if installed "$1" && venv_works; then
        refuse_torchvision
        return
    fi
    exec 9>>"$root/scripts/common.sh" # only as a lock: nothing is written
    if command -v flock >/dev/null && ! flock -n 9; then
        say "Another set-up is under way here; waiting for it …"
        flock 9 || true
    fi
    make_venv
    if ! installed "$1"; then install_packages "$1"; fi
    exec 9>&-
    refuse_torchvision
}
