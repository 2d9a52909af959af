package task

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Names in a task become parts of paths, in the pod and in the backend.
var (
	componentPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,399}$`)
	idPattern        = regexp.MustCompile(`^[A-Za-z0-9._-]{0,128}$`)
	indexPattern     = regexp.MustCompile(`^[0-9]{0,6}$`)
)

// checkNames reports a name, path or size that no task of the manager has. Names are parts of paths: none can lead out
// of its directory.
func (t Task) checkNames() error {
	for _, err := range []error{
		subdomain("storage.namespace", t.Storage.Namespace), subdomain("storage.name", t.Storage.Name),
		uid("cluster", types.UID(t.Cluster)), uid("storage.uid", t.Storage.UID),
		subdomain("namespace", t.Namespace), t.Repository.check("repository"), t.RestoreSession.check("restoreSession"),
	} {
		if err != nil {
			return err
		}
	}
	if s := t.Snapshot; s != nil {
		object := s.Object()
		if err := object.check("snapshot"); err != nil {
			return err
		}
	}
	for i := range t.Components {
		if err := t.Components[i].check(); err != nil {
			return err
		}
	}
	for i := range t.Keep {
		if err := t.Keep[i].checkNames(fmt.Sprintf("keep[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (o *Object) check(field string) error {
	if o == nil {
		return nil
	}
	if err := subdomain(field+".name", o.Name); err != nil {
		return err
	}
	return uid(field+".uid", o.UID)
}

func (r *Repository) check(field string) error {
	if r == nil {
		return nil
	}
	if !indexPattern.MatchString(r.Encryption) {
		return fmt.Errorf("%s.encryption %q is no number", field, r.Encryption)
	}
	if err := subdomain(field+".name", r.Name); err != nil {
		return err
	}
	return uid(field+".uid", r.UID)
}

func (c *Component) check() error {
	switch {
	case !componentPattern.MatchString(c.Name):
		return fmt.Errorf("%q is no name of a component", c.Name)
	case !idPattern.MatchString(c.ID):
		return fmt.Errorf("component %s: %q is no ID of data", c.Name, c.ID)
	case strings.ContainsRune(c.Path, 0) || slices.Contains(strings.Split(c.Path, "/"), ".."):
		return fmt.Errorf("component %s: path %q must not contain %q", c.Name, c.Path, "..")
	case c.Files < 0 || c.Files > maxEntries || c.Bytes < 0 || c.Bytes > maxBytes:
		return fmt.Errorf("component %s: %d files with %d bytes is no size", c.Name, c.Files, c.Bytes)
	}
	return nil
}

func (k *Keep) checkNames(field string) error {
	if err := k.Repository.check(field + ".repository"); err != nil {
		return err
	}
	for _, s := range k.Remove {
		if err := subdomain(field+".remove.name", s.Name); err != nil {
			return err
		}
	}
	for _, c := range k.Check {
		if err := subdomain(field+".check.snapshot", c.Snapshot); err != nil {
			return err
		}
		if !componentPattern.MatchString(c.Component) {
			return fmt.Errorf("%s.check: %q is no name of a component", field, c.Component)
		}
	}
	return nil
}

// subdomain reports a text that is no name of an object. "" is none, where a task needs none.
func subdomain(field, name string) error {
	if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("%s %q is no name of an object", field, name)
	}
	return nil
}

func uid(field string, value types.UID) error {
	if value != "" && !IsUID(string(value)) {
		return fmt.Errorf("%s %q is no UID", field, value)
	}
	return nil
}
