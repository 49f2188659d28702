#!/usr/bin/env bash
# Build the Kubernetes servers of the test cluster from Debian 12's own source package, into a cache outside the clone.
# Needs root, about 3 GB of disk for the build and 10 CPU minutes. Does nothing where they are there already.
set -euo pipefail

target=${SERVETUNE_KUBERNETES_BIN:-$HOME/.cache/servetune/kubernetes-1.20.2/bin}
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet"
complete=yes
for program in $programs; do [ -x "$target/$program" ] || complete=no; done
[ "$complete" = no ] || { echo "all there: $target"; exit 0; }

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends golang-1.19-go etcd-server containerd runc dpkg-dev make rsync jq binutils openssl

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
# A private list of source packages, from where this machine gets its packages.
address=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $address bookworm main" > "$work/apt/src.list"
options=(-o "Dir::Etc::sourcelist=$work/apt/src.list" -o Dir::Etc::sourceparts=/dev/null
         -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache")
cd "$work"
apt-get "${options[@]}" update -qq
# The package's signature is apt's to check: its lists are signed, and hold the hashes of the sources.
apt-get "${options[@]}" source -qq --download-only "kubernetes=1.20.5+really1.20.2-1.1+deb12u1"
dpkg-source --no-check -x kubernetes_*.dsc tree
mkdir -p tree/.go/src/k8s.io
ln -s ../../.. tree/.go/src/k8s.io/kubernetes
cd tree/.go/src/k8s.io/kubernetes
PATH=/usr/lib/go-1.19/bin:$PATH GOPATH=$work/tree/.go CGO_ENABLED=0 GO111MODULE=off HOME=$work \
  nice make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet"
mkdir -p "$target"
for program in $programs; do
  strip -o "$work/$program" "_output/local/go/bin/$program"
  # All or nothing: who sees the program sees the whole of it.
  install -m 755 "$work/$program" "$target/.$program.new"
  mv "$target/.$program.new" "$target/$program"
done
echo "built: $target"
