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
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// Options say what is allowed and where objects go.
type Options struct {
	// Namespace is set on namespaced objects that name none. If it is empty they stay without one.
	Namespace string
	// Confined allows only Cairn's namespaced policy kinds, and only in Namespace. That is what a PolicySync without
	// a serviceAccountName is allowed to apply.
	Confined bool
	// Labelled says that policy may name only Secrets with the label v1alpha1.LabelPolicyMayUse: spec.secrets of the
	// PolicySync. Then Result.Secrets has those that it names.
	Labelled bool
	// Lookup resolves references to objects that are not in the directory.
	Lookup check.Lookup
	// Show spells a file in findings and objects as the user wrote it. If it is nil, files are relative to the root,
	// with slashes.
	Show func(file string) string
	// Limits bound the work.
	Limits Limits
	// Reserve waits until there is memory for so many bytes, which release gives back. Nil means not to ask.
	Reserve func(ctx context.Context, bytes int64) (release func(), err error)
}

// Result holds the content of a directory.
type Result struct {
	// Objects are in the order of their files and documents, or in the order of kustomize.
	Objects []Object
	// Warnings are findings that do not make the directory invalid, sorted.
	Warnings []check.Finding
	// Secrets are those that the objects name, in the order of the objects. It is empty without Options.Labelled.
	Secrets []NamedSecret
}

// NamedSecret is a Secret that an object names. Only who knows the cluster can tell whether it has the label.
type NamedSecret struct {
	// Namespace and Name of the Secret.
	Namespace, Name string
	// Foreign says that the object is in another namespace than the Secret.
	Foreign bool
	// Place is where it is named, as a finding without a message.
	Place check.Finding
}

// Object is a validated object and its origin.
type Object struct {
	// Unstructured is the object as it will be applied: with its namespace, without status, and without metadata that
	// only the server sets.
	Unstructured *unstructured.Unstructured
	// File is relative to the root, with slashes, unless Options.Show spells it.
	File string
	// Document is the number of the document in the file, from 1. It is 0 for a generated object.
	Document int

	node *yaml.Node
	line int // of the name, after Release
}

// Line returns the line of a field path such as spec.sessions[0].name in the object's file, or the line of the
// nearest field around it. It is 0 for a generated object.
func (o Object) Line(field string) int {
	if o.node == nil {
		return o.line
	}
	return lineOf(o.node, field)
}

// Release drops the data that only Line needs, which is larger than the objects themselves. Afterwards Line returns
// the line of an object's name.
func (r *Result) Release() {
	for i := range r.Objects {
		o := &r.Objects[i]
		o.line, o.node = o.Line("metadata.name"), nil
	}
}

// Build reads the directory or file at path below root. A path that leads out of root is an error. If the directory has
// a kustomization, kustomize builds it. Otherwise all .yaml and .yml files in the directory and below are read, except
// in folders whose names start with a dot. Every error that is the directory's fault is an *Error with all findings.
// Build is safe for concurrent use, but kustomize builds run one after another.
func Build(ctx context.Context, root, path string, opts Options) (*Result, error) {
	opts.Limits = opts.Limits.withDefaults()
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { _ = dir.Close() }()
	b := &builder{ctx: ctx, root: dir, opts: opts}
	release, err := b.reserve(path)
	if err != nil {
		return nil, err
	}
	defer release()
	objects := b.build(path)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("build %s: %w", path, err)
	}
	var named []NamedSecret
	if len(b.findings) == 0 {
		b.checkSet(objects)
		named = b.secrets(objects)
	}
	warnings, err := b.outcome()
	if err != nil {
		return nil, err
	}
	return &Result{Objects: objects, Warnings: warnings, Secrets: named}, nil
}

// reserve waits for the memory that the build takes.
func (b *builder) reserve(raw string) (release func(), err error) {
	if b.opts.Reserve == nil {
		return func() {}, nil
	}
	bytes := int64(filesMemory)
	if b.kustomizationIn(path.Clean("./"+strings.TrimLeft(raw, "/"))) != "" {
		bytes = kustomizeMemory
	}
	return b.opts.Reserve(b.ctx, bytes)
}

// builder is the state of one build.
type builder struct {
	ctx       context.Context
	root      *os.Root
	opts      Options
	findings  []check.Finding
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
		b.report(v1alpha1.ReasonBuildFailed, at, 0, 0, "", "holds no object, and an empty directory would remove "+
			"everything: add at least one policy file (.yaml or .yml), or delete the PolicySync")
		return nil
	}
	return b.validate(found)
}

// entry cleans the path that the user gave.
func (b *builder) entry(raw string) (string, bool) {
	for _, segment := range strings.Split(strings.ReplaceAll(raw, "\\", "/"), "/") {
		if segment == ".." {
			b.report(v1alpha1.ReasonInvalidPath, raw, 0, 0, "",
				"path contains \"..\": name a path inside the repository")
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
