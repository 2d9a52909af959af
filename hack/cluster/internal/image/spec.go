// Package image builds single-layer container images from files on disk, with
// no Dockerfile, daemon, base image, or registry. The same input makes the same
// bytes.
package image

import (
	"fmt"
	"path"
	"strings"

	"github.com/distribution/reference"
)

// NonRoot is the user and group that every image knows by the name nonroot.
const NonRoot = 65532

// CAFile is where programs look for the certificates of public authorities.
const CAFile = "/etc/ssl/certs/ca-certificates.crt"

// File is one file of an image.
type File struct {
	Source string // file on disk; symbolic links are followed
	Path   string // absolute path in the image; its mode is 0755, its owner root
}

// Spec describes an image. Besides what it names, every image has /tmp for all
// users, /etc/passwd and /etc/group with root and nonroot, and CAFile if the
// machine has one; what a root or a file puts there wins.
type Spec struct {
	// Ref is the whole reference: a host part with a dot, so that nothing takes
	// it for an image of a public registry, and a tag other than latest, so that
	// Kubernetes does not try to pull it. Example: cairn.local/app:dev
	Ref        string
	Roots      []string // directories and plain tar files whose content goes to /; the first to have a path wins
	Files      []File   // win over Roots
	Entrypoint []string
	Env        []string
	User       string // "uid[:gid]"; empty means root
}

// Validate returns what is wrong with the description itself, or nil.
func (s Spec) Validate() error {
	ref, err := reference.Parse(s.Ref)
	if err != nil {
		return fmt.Errorf("parse image reference %q: %w", s.Ref, err)
	}
	tagged, ok := ref.(reference.NamedTagged)
	if !ok || tagged.Tag() == "latest" {
		return fmt.Errorf("check image reference %q: it needs a tag other than latest", s.Ref)
	}
	if !strings.ContainsAny(reference.Domain(tagged), ".:") {
		return fmt.Errorf("check image reference %q: it needs a host part with a dot, like cairn.local/", s.Ref)
	}
	if len(s.Roots) == 0 && len(s.Files) == 0 {
		return fmt.Errorf("check image %s: no file and no root is given", s.Ref)
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return fmt.Errorf("check image %s: %q is no absolute path of a file", s.Ref, f.Path)
		}
	}
	return nil
}
