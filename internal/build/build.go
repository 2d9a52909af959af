package build

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Options say what is allowed and where objects go.
type Options struct {
	// Namespace of namespaced objects that name none. Empty leaves them without one.
	Namespace string
	// Confined allows only Cairn's namespaced policy kinds, and only in Namespace: what a PolicySync without a
	// serviceAccountName may apply.
	Confined bool
	// Lookup answers references that the directory does not answer itself.
	Lookup policy.Lookup
	// Limits of the work.
	Limits Limits
}

// Result is what a directory holds.
type Result struct {
	// Objects in the order of their files and documents, or in that of kustomize.
	Objects []Object
	// Warnings are findings that do not make the directory invalid, sorted.
	Warnings []policy.Finding
}

// Object is a validated object and where it comes from.
type Object struct {
	// Unstructured is the object as it is to be applied: with its namespace, without status and without the metadata
	// that only the server sets.
	Unstructured *unstructured.Unstructured
	// File relative to the root, with slashes.
	File string
	// Document in the file, from 1. It is 0 where the object was generated.
	Document int

	node *yaml.Node
	line int // of the name, once node is given up
}

// Line is the line of a field path such as spec.sessions[0].name in the object's file, or that of the nearest field around
// it. It is 0 where the object was generated.
func (o Object) Line(field string) int {
	if o.node == nil {
		return o.line
	}
	return lineOf(o.node, field)
}

// Release gives up what only lines are told from, which is more than the objects themselves. From then on Line is that of an
// object's name.
func (r *Result) Release() {
	for i := range r.Objects {
		o := &r.Objects[i]
		o.line, o.node = o.Line("metadata.name"), nil
	}
}

// Build reads the directory or file at path below root, which is where nothing may lead out of. With a kustomization in
// the directory kustomize builds it; else all .yaml and .yml files in it and below are read, except in folders whose names
// start with a dot. Every error that is the directory's fault is an *Error with all findings. It is safe for concurrent
// use, but kustomize builds run one after the other.
func Build(ctx context.Context, root, path string, opts Options) (*Result, error) {
	opts.Limits = opts.Limits.withDefaults()
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	defer dir.Close()
	b := &builder{ctx: ctx, root: dir, opts: opts}
	objects := b.build(path)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("build %s: %w", path, err)
	}
	if len(b.findings) == 0 {
		b.checkSet(objects)
	}
	warnings, err := b.outcome()
	if err != nil {
		return nil, err
	}
	return &Result{Objects: objects, Warnings: warnings}, nil
}

// builder is the state of one build.
type builder struct {
	ctx       context.Context
	root      *os.Root
	opts      Options
	findings  []policy.Finding
	dropped   int // findings beyond maxFindings
	bytes     int64
	files     int
	documents int
	nodes     int
}

func (b *builder) build(raw string) []Object {
	at, ok := b.entry(raw)
	if !ok {
		return nil
	}
	info, err := b.root.Stat(at)
	if err != nil {
		b.report(v1alpha1.ReasonInvalidPath, at, 0, 0, "", "%s", statProblem(err, "path"))
		return nil
	}
	var found []source
	switch kustomization := b.kustomizationIn(at); {
	case !info.IsDir():
		found = b.plainFile(at)
	case kustomization != "":
		found = b.kustomize(at, kustomization)
	default:
		found = b.plain(at)
	}
	if len(b.findings) > 0 || b.ctx.Err() != nil {
		return b.validate(found)
	}
	if len(found) == 0 {
		b.report(v1alpha1.ReasonBuildFailed, at, 0, 0, "", "holds no object: an empty directory would remove everything. Put at least one policy file (.yaml or .yml) there, or delete the PolicySync")
		return nil
	}
	return b.validate(found)
}

// entry cleans the path that the user gave.
func (b *builder) entry(raw string) (string, bool) {
	for _, segment := range strings.Split(strings.ReplaceAll(raw, "\\", "/"), "/") {
		if segment == ".." {
			b.report(v1alpha1.ReasonInvalidPath, raw, 0, 0, "", "path holds \"..\": give a path inside the repository")
			return "", false
		}
	}
	return path.Clean("./" + strings.TrimLeft(raw, "/")), true
}

// source is an object before validation.
type source struct {
	content  map[string]any
	file     string
	document int
	node     *yaml.Node
}

func (s source) from() document {
	return document{file: s.file, number: s.document, node: s.node}
}
