package validate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// policyPath is a path to validate. It remembers how the user wrote it, so that files are shown in the same way.
type policyPath struct {
	root   string // no path may lead out of it
	inside string // the path below root, with slashes
	dir    string // the directory of the path, absolute
	argDir string // the same as the user wrote it
}

// locate finds the working copy that holds a path.
func locate(arg string) (policyPath, error) {
	abs, err := filepath.Abs(arg)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(abs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return policyPath{}, errors.New("does not exist: check the path")
	}
	if err != nil {
		return policyPath{}, fmt.Errorf("can't be read: %w", pathCause(err))
	}
	p := policyPath{dir: abs, argDir: filepath.Clean(arg)}
	if !info.IsDir() {
		p.dir, p.argDir = filepath.Dir(abs), filepath.Dir(p.argDir)
	}
	p.root = workingCopy(p.dir)
	inside, err := filepath.Rel(p.root, abs)
	p.inside = filepath.ToSlash(inside)
	return p, err
}

// pathCause drops the path from an error, because the finding names it already.
func pathCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// workingCopy returns the closest directory at or above dir that holds .git, else dir.
func workingCopy(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// build builds the path. If the namespace of the PolicySync is not given, it is the namespace that the objects name.
func (p policyPath) build(ctx context.Context, opts validateOptions, lookup check.Lookup) (*build.Result, error) {
	with := build.Options{
		Namespace: opts.namespace, Lookup: lookup, Show: p.show, Labelled: opts.secrets == v1alpha1.SecretsLabelled,
	}
	if opts.namespace == "" && !opts.serviceAccount {
		return p.confined(ctx, with)
	}
	with.Confined = !opts.serviceAccount
	return build.Build(ctx, p.root, p.inside, with)
}

// confined builds only the kinds that are allowed without a service account, all in one namespace, whichever it is.
func (p policyPath) confined(ctx context.Context, with build.Options) (*build.Result, error) {
	free, err := build.Build(ctx, p.root, p.inside, with)
	with.Confined = true
	if err == nil {
		with.Namespace = firstNamespace(free.Objects)
	}
	result, confinedErr := build.Build(ctx, p.root, p.inside, with)
	var freely, invalid *build.Error
	if errors.As(confinedErr, &invalid) && errors.As(err, &freely) {
		// The namespace is not known, so findings about namespaces count only if they hold for any namespace.
		invalid.Findings = slices.DeleteFunc(invalid.Findings, func(f check.Finding) bool {
			return f.Field == "metadata.namespace" && !slices.Contains(freely.Findings, f)
		})
		if len(invalid.Findings) == 0 {
			return nil, freely
		}
	}
	if confinedErr != nil {
		return nil, confinedErr
	}
	return result, nil
}

func firstNamespace(objects []build.Object) string {
	for _, o := range objects {
		if ns := o.Unstructured.GetNamespace(); ns != "" {
			return ns
		}
	}
	return ""
}

// show returns the path of a file below root as the user would write it.
func (p policyPath) show(file string) string {
	if file == "" {
		return ""
	}
	below, err := filepath.Rel(p.dir, filepath.Join(p.root, filepath.FromSlash(file)))
	if err != nil {
		return file
	}
	return filepath.Join(p.argDir, below)
}
