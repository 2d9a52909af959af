// Package check finds the mistakes in a set of manifests. The controllers, "cairn validate" and PolicySync share it,
// so that a pull request shows what the cluster will say. It is pure and keeps no state.
package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Object is a manifest with its position.
type Object struct {
	*unstructured.Unstructured
	// File and Document (the first is 1) of the manifest.
	File     string
	Document int
	// LineOf returns the line of a field (spec.sessions[0].name) in File, or of the nearest field around it; 0 if
	// unknown. It is nil for a manifest without lines.
	LineOf func(field string) int
}

// Severity of a Finding.
type Severity string

const (
	// SeverityError means that the set cannot work.
	SeverityError Severity = "error"
	// SeverityWarning means that only a cluster can tell, or that the set works in a way that is hardly intended.
	SeverityWarning Severity = "warning"
	// unknown is what only a cluster can tell. The function add turns it into a warning with OnlyCluster.
	unknown Severity = "unknown"
)

// Finding is a mistake in a set of manifests with its position.
type Finding struct {
	Severity Severity
	// OnlyCluster marks a warning about what only the cluster can tell.
	OnlyCluster bool
	// Missing is the object of Cairn's that the set refers to and lacks, in a warning about that.
	Missing Reference
	// File, Document and Line as in Object.
	File     string
	Document int
	Line     int
	// Object is "<kind> <namespace>/<name>".
	Object string
	// Field, Reason and Message as in Mistake.
	Field   string
	Reason  string
	Message string
}

// Reference names an object that another object refers to. Namespace is empty for cluster-scoped kinds.
type Reference struct {
	schema.GroupKind
	Namespace, Name string
}

// String returns "<kind> <namespace>/<name>".
func (r Reference) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Lookup returns an object that is not in the set. It returns known false if it cannot tell, which makes a missing
// object a warning, and known true with nil if the object does not exist, which is an error. The command line knows the
// built-in Addons and Functions; PolicySync knows the objects of the cluster.
type Lookup func(Reference) (object *unstructured.Unstructured, known bool)

// Options are what a check knows besides the manifests.
type Options struct {
	// DefaultNamespace applies to manifests without a namespace.
	DefaultNamespace string
	// Lookup finds what the set lacks. Nil knows nothing.
	Lookup Lookup
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
}

// Result is what a check has found.
type Result struct {
	// Findings are ordered by file, document and line.
	Findings []Finding
	// Foreign are the objects of Cairn's in other namespaces that the set refers to or gets as a default, each once, by
	// kind, namespace and name.
	Foreign []Reference
}

// Objects returns the findings of Set. No default of another namespace counts.
func Objects(objects []Object, defaultNamespace string, lookup Lookup) []Finding {
	return Set(objects, Options{DefaultNamespace: defaultNamespace, Lookup: lookup}).Findings
}

// Set finds what is wrong across a set of manifests that each follow their schema: overlapping directories of
// repositories, batches that cannot be expanded, schedules that never fire, and references to objects that are missing
// or not allowed.
func Set(objects []Object, with Options) Result {
	c := &checker{
		Options:      with,
		foreign:      map[Reference]bool{},
		objects:      make(map[Reference]*Object, len(objects)),
		directories:  map[string]directoryUse{},
		around:       map[string]directoryUse{},
		repositories: map[Reference]directoryUse{},
		inferred:     map[Reference]bool{},
		drivers:      map[Reference]driverUse{},
		defaults:     map[Reference]string{},
	}
	for i := range objects {
		c.objects[c.referenceOf(&objects[i])] = &objects[i]
	}
	// Explicit Repositories come first: policies are checked against them.
	for i := range objects {
		c.storage(&objects[i])
		c.repositoryObject(&objects[i])
		c.addonObject(&objects[i])
		c.retentionPolicy(&objects[i])
		c.priorities(&objects[i])
	}
	for i := range objects {
		c.configuration(&objects[i])
		c.batch(&objects[i])
	}
	// A restore can name a Repository that a policy creates.
	for i := range objects {
		c.restore(&objects[i])
		c.restoreBatch(&objects[i])
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line))
	})
	foreign := slices.SortedFunc(maps.Keys(c.foreign), func(a, b Reference) int {
		return cmp.Compare(a.String(), b.String())
	})
	return Result{Findings: c.findings, Foreign: foreign}
}

type checker struct {
	Options
	objects map[Reference]*Object
	// directories by their key, around by the keys of the directories around them.
	directories, around map[string]directoryUse
	repositories        map[Reference]directoryUse
	// inferred holds Repositories that policy names without their directory.
	inferred map[Reference]bool
	// drivers of Repositories with the place that set them first.
	drivers  map[Reference]driverUse
	storages []v1alpha1.BackupStorage
	policies []v1alpha1.RetentionPolicy
	// foreign holds the objects of Cairn's that are used from another namespace.
	foreign map[Reference]bool
	// defaults holds the names of default objects by kind and namespace.
	defaults map[Reference]string
	findings []Finding
}

// referenceOf names an object of the set. It drops the namespace of a cluster-scoped kind.
func (c *checker) referenceOf(o *Object) Reference {
	reference := Reference{GroupKind: o.GroupVersionKind().GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	if reference.Namespace == "" && !clusterScoped(reference.GroupKind) {
		reference.Namespace = c.DefaultNamespace
	}
	return reference
}

func clusterScoped(kind schema.GroupKind) bool {
	switch kind {
	case ours(v1alpha1.AddonKind), ours(v1alpha1.FunctionKind), schema.GroupKind{Kind: "Namespace"},
		catalog.SnapshotClass:
		return true
	default:
		return false
	}
}

func ours(kind string) schema.GroupKind { return schema.GroupKind{Group: v1alpha1.Group, Kind: kind} }

// add records a mistake of an object.
func (c *checker) add(severity Severity, o *Object, m policy.Mistake) {
	line := 0
	if o.LineOf != nil {
		line = o.LineOf(m.Field)
	}
	onlyCluster := severity == unknown
	if onlyCluster {
		severity = SeverityWarning
	}
	c.findings = append(c.findings, Finding{
		Severity: severity, OnlyCluster: onlyCluster, File: o.File, Document: o.Document, Line: line,
		Object: c.referenceOf(o).String(),
		Field:  m.Field, Reason: m.Reason, Message: m.Message,
	})
}

func (c *checker) addAll(o *Object, mistakes []policy.Mistake) {
	for _, m := range mistakes {
		c.add(SeverityError, o, m)
	}
}

// read converts o to into if it has that kind. An object that does not convert is recorded as a mistake.
func (c *checker) read(o *Object, kind string, into runtime.Object) bool {
	if o.GroupVersionKind().GroupKind() != ours(kind) {
		return false
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.UnstructuredContent(), into); err != nil {
		c.add(SeverityError, o, policy.Mistake{
			Reason:  v1alpha1.ReasonValidationFailed,
			Message: fmt.Sprintf("read %s: %v", kind, err),
		})
		return false
	}
	return true
}

// uses notes that o refers to an object, if that is one of Cairn's in another namespace.
func (c *checker) uses(o *Object, reference Reference) {
	if reference.Group == v1alpha1.Group && reference.Namespace != "" &&
		reference.Namespace != c.referenceOf(o).Namespace {
		c.foreign[reference] = true
	}
}

// find looks for an object in the set, then by the lookup. It records a missing object at the field of o that refers to
// it.
func (c *checker) find(o *Object, field, reason string, reference Reference) *unstructured.Unstructured {
	c.uses(o, reference)
	if found, ok := c.objects[reference]; ok {
		return found.Unstructured
	}
	if c.Lookup != nil {
		if found, known := c.Lookup(reference); found != nil {
			return found
		} else if known {
			c.add(SeverityError, o, policy.Mistake{Field: field, Reason: reason, Message: fmt.Sprintf("there is no %s",
				reference)})
			return nil
		}
	}
	c.add(unknown, o, policy.Mistake{
		Field: field, Reason: reason,
		Message: fmt.Sprintf("%s is not among these files: only the cluster can tell whether it exists", reference),
	})
	if reference.Group == v1alpha1.Group {
		c.findings[len(c.findings)-1].Missing = reference
	}
	return nil
}
