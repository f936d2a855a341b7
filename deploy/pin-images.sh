#!/bin/sh
# Add the digest that each image has now to its tag, in Dockerfile and docker-compose.yml: a
# tag can be moved to another image, a digest cannot. Run it again for newer ones. Needs Docker.
set -eu
cd "$(dirname "$0")/.."

images() {
    sed -n -e 's/^FROM \([^ ]*\).*/\1/p' -e 's/^# syntax=//p' Dockerfile
    # linkpool's own image is built from the Dockerfile.
    sed -n 's/^ *image: //p' docker-compose.yml | grep -v '^linkpool:'
}

for image in $(images | sort -u); do
    tag=${image%@*}
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
    case $digest in
        sha256:????????????????????????????????????????????????????????????????) ;;
        *) echo "no digest of $tag: $digest" >&2; exit 1 ;;
    esac
    for file in Dockerfile docker-compose.yml; do
        sed -e "s|$image\$|$tag@$digest|" -e "s|$image |$tag@$digest |" "$file" >"$file.new"
        cat "$file.new" >"$file"
        rm "$file.new"
    done
    echo "$tag@$digest"
done
