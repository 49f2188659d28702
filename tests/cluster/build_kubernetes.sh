#!/usr/bin/env bash
# Build the Kubernetes servers of the test cluster from Debian 12's own source package, into a cache outside the clone.
# For a Debian 12 with apt and root; about 3 GB of disk for the build and 10 CPU minutes. Does nothing where they are
# there already. Says how long it took. Exit status 75: something could not be fetched, or this is no such machine.
set -euo pipefail
elsewhere() { echo "$*" >&2; exit 75; }

target=${SERVETUNE_KUBERNETES_BIN:-$HOME/.cache/servetune/kubernetes-1.20.2/bin}
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet"
complete=yes
for program in $programs; do [ -x "$target/$program" ] || complete=no; done
[ "$complete" = no ] || { echo "all there: $target"; exit 0; }

begun=$SECONDS
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || elsewhere "it takes root and apt to build Kubernetes"
export DEBIAN_FRONTEND=noninteractive
wanted="golang-1.19-go dpkg-dev make rsync jq binutils debian-archive-keyring"
# Whoever else installs something at this moment is waited for.
# shellcheck disable=SC2086
{ apt-get update -qq && apt-get install -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends $wanted >/dev/null; } ||
  elsewhere "could not be installed: $wanted"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
# A private list of source packages, from where this machine gets its packages: apt itself tells, whether its own list
# is one of the classic form or a .sources file.
address=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk '$1 == "bookworm" && $2 == "main" && !found { print $3; found = 1 }')
[ -n "$address" ] || elsewhere "this machine's apt has no Debian 12 (bookworm main) in its list"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $address bookworm main" > "$work/apt/src.list"
options=(-o "Dir::Etc::sourcelist=$work/apt/src.list" -o Dir::Etc::sourceparts=/dev/null
         -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache")
cd "$work"
apt-get "${options[@]}" update -qq || elsewhere "the list of source packages could not be fetched"
# The package's signature is apt's to check: its lists are signed, and hold the hashes of the sources. Whatever the
# revision, Debian 12 has this one version.
apt-get "${options[@]}" -o APT::Sandbox::User=root source -qq --download-only kubernetes ||
  elsewhere "the sources could not be fetched"
dpkg-source --no-check -x kubernetes_1.20.*.dsc tree >/dev/null
echo "sources are there after $((SECONDS - begun)) s"
mkdir -p tree/.go/src/k8s.io
ln -s ../../.. tree/.go/src/k8s.io/kubernetes
cd tree/.go/src/k8s.io/kubernetes
PATH=/usr/lib/go-1.19/bin:$PATH GOPATH=$work/tree/.go GOCACHE=$work/cache CGO_ENABLED=0 GO111MODULE=off HOME=$work \
  nice make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet"
mkdir -p "$target"
for program in $programs; do
  strip -o "$work/$program" "_output/local/go/bin/$program"
  # All or nothing: who sees the program sees the whole of it.
  install -m 755 "$work/$program" "$target/.$program.new"
  mv "$target/.$program.new" "$target/$program"
done
echo "built in $((SECONDS - begun)) s: $target"
