package build

import (
	"fmt"
	"regexp"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kubestash"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// validate checks each object by itself, and that no object is defined twice.
func (b *builder) validate(found []source) []Object {
	objects := make([]Object, 0, len(found))
	first := map[string]source{}
	for _, s := range found {
		if b.ctx.Err() != nil {
			return nil
		}
		c := &objectCheck{b: b, source: s, u: &unstructured.Unstructured{Object: s.content}}
		if !c.identity() {
			continue
		}
		id := strings.Join([]string{c.gvk.Group, c.gvk.Kind, c.u.GetNamespace(), c.u.GetName()}, "\x00")
		if other, ok := first[id]; ok {
			b.reportDuplicate(s.from(), other.from(), c.gvk.Kind+"/"+c.u.GetName())
		} else {
			first[id] = s
		}
		c.metadata()
		c.content()
		objects = append(objects, Object{
			Unstructured: c.u, File: b.show(s.file), Document: s.document, node: s.node,
		})
	}
	return objects
}

// objectCheck validates one object.
type objectCheck struct {
	b *builder
	source
	u   *unstructured.Unstructured
	gvk schema.GroupVersionKind
}

func (c *objectCheck) fail(path, format string, args ...any) {
	f := check.Finding{
		Severity: check.SeverityError, Reason: v1alpha1.ReasonValidationFailed, File: c.b.show(c.file),
		Document: c.document, Line: lineOf(c.node, path), Field: path, Message: fmt.Sprintf(format, args...),
	}
	if c.gvk.Kind != "" {
		f.Object = check.Reference{
			GroupKind: c.gvk.GroupKind(), Namespace: c.u.GetNamespace(), Name: c.u.GetName(),
		}.String()
	}
	c.b.add(f)
}

// identity checks kind, name and namespace. Without them, the rest can't be checked.
func (c *objectCheck) identity() bool {
	before := c.b.mistakes()
	for _, name := range []string{"apiVersion", "kind"} {
		if v, ok := c.value(name).(string); !ok || v == "" {
			c.fail(name, "is missing or not a text: every object needs %s", name)
		}
	}
	if c.b.mistakes() > before {
		return false
	}
	gv, err := schema.ParseGroupVersion(c.u.GetAPIVersion())
	if err != nil {
		c.fail("apiVersion", "%q is not <group>/<version>", c.u.GetAPIVersion())
		return false
	}
	c.gvk = gv.WithKind(c.u.GetKind())
	if path, message := c.b.opts.refusal(c.gvk); message != "" {
		c.fail(path, "%s", message)
		return false
	}
	meta, ok := c.value("metadata").(map[string]any)
	if !ok {
		c.fail("metadata", "is missing: every object needs metadata with a name")
		return false
	}
	if name, ok := meta["name"].(string); !ok || name == "" {
		c.fail(
			"metadata.name",
			"is missing or not a text: give the object a name (generateName would make a new object each time)")
		return false
	}
	if ns, ok := meta["namespace"]; ok {
		if _, isText := ns.(string); !isText {
			c.fail("metadata.namespace", "is not a text")
			return false
		}
	}
	c.namespace()
	return true
}

func (c *objectCheck) value(key string) any { return c.source.content[key] }

func (c *objectCheck) namespace() {
	switch want := c.b.opts.Namespace; {
	case clusterScoped(c.gvk.GroupKind()):
		unstructured.RemoveNestedField(c.u.Object, "metadata", "namespace") // set by kustomize's namespace transformer
	case c.u.GetNamespace() == "" && want != "":
		c.u.SetNamespace(want)
	case c.b.opts.Confined && c.u.GetNamespace() != want:
		c.fail("metadata.namespace",
			"%s is not %s, the namespace of the PolicySync: without spec.serviceAccountName a "+
				"PolicySync applies only to its own namespace", c.u.GetNamespace(), want)
	}
}

// serverFields are set by the API server. A file that was copied out of a cluster contains them.
var serverFields = []string{
	"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
	"deletionGracePeriodSeconds", "selfLink", "managedFields",
}

// reservedMetadata are fields that the apply would enforce on objects that others must be able to delete.
var reservedMetadata = map[string]string{
	"finalizers":      "are set by controllers, and policy would prevent their removal: remove them from the file",
	"ownerReferences": "would delete the object together with another one: remove them from the file",
	"generateName":    "would make a new object each time: remove it from the file, and keep the name",
}

func (c *objectCheck) metadata() {
	meta, _ := c.value("metadata").(map[string]any)
	for _, name := range serverFields {
		delete(meta, name)
	}
	delete(c.u.Object, "status")
	typed := &metav1.ObjectMeta{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(meta, typed, true); err != nil {
		c.conversion("metadata", err)
		return
	}
	for name, why := range reservedMetadata {
		if _, ok := meta[name]; ok {
			c.fail("metadata."+name, "%s", why)
		}
	}
	name := apivalidation.NameIsDNSSubdomain
	if c.gvk == nativeNamespace {
		name = apivalidation.NameIsDNSLabel
	} else if c.gvk.Group == "rbac.authorization.k8s.io" {
		name = pathSegment
	}
	at := field.NewPath("metadata")
	for _, problem := range name(typed.Name, false) {
		c.fail("metadata.name", "%s", problem)
	}
	c.errors(metavalidation.ValidateLabels(typed.Labels, at.Child("labels")))
	c.errors(apivalidation.ValidateAnnotations(typed.Annotations, at.Child("annotations")))
	c.marks(typed.Labels, typed.Annotations)
	for name := range typed.Labels {
		if strings.HasPrefix(name, "kustomize.toolkit.fluxcd.io/") ||
			strings.HasPrefix(name, "helm.toolkit.fluxcd.io/") {
			c.fail(join("metadata.labels", name), "claims that Flux owns the object: remove it")
		}
	}
}

var nativeNamespace = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}

// pathSegment is the rule for names of roles, which can contain colons.
func pathSegment(name string, _ bool) []string {
	if name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		return []string{`must not be "." or ".." and must not contain "/" or "%"`}
	}
	return nil
}

// content checks the object against its schema.
func (c *objectCheck) content() {
	if empty := nativeKinds[c.gvk]; empty != nil {
		rest := map[string]any{}
		for k, v := range c.u.Object {
			if k != "metadata" {
				rest[k] = v
			}
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(rest, empty(), true); err != nil {
			c.conversion("", err)
		}
		return
	}
	s, err := schemaOf(c.gvk.Kind)
	if err != nil {
		c.fail("kind", "can't be checked: %s", err)
		return
	}
	object := c.u.DeepCopy().Object
	unknown := pruning.PruneWithOptions(object, s.structural, true,
		structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		if advice := kubestash.Advice(c.gvk.Kind, path); advice != "" {
			c.fail(path, "is a field of KubeStash that Cairn does not have: %s", advice)
			continue
		}
		c.fail(path, "unknown field: check its name and its place")
	}
	defaulting.Default(object, s.structural)
	errs := validation.ValidateCustomResource(nil, object, s.validator)
	c.wrongTypes(s.structural, errs)
	c.errors(errs)
	c.errors(listtype.ValidateListSetsAndMaps(nil, s.structural, object))
	if len(errs) == 0 && s.rules != nil { // rules rely on the types
		errs, _ = s.rules.Validate(c.b.ctx, nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
		c.errors(c.unknownBackends(object, errs))
	}
}

var inBody = regexp.MustCompile(`^\S* ?in body `)

func pathOf(e *field.Error) string {
	return strings.TrimPrefix(strings.TrimPrefix(e.Field, "<nil>"), ".")
}

// errors reports field errors. It gives the line of a wrong value but does not repeat the value, which can be secret.
func (c *objectCheck) errors(errs field.ErrorList) {
	lists := firstLines{node: c.node}
	for _, e := range errs {
		path := pathOf(e)
		detail := explainSchemaError(inBody.ReplaceAllString(e.Detail, ""))
		switch e.Type {
		case field.ErrorTypeRequired:
			if detail == "" {
				detail = "is missing"
			}
		case field.ErrorTypeNotSupported:
			detail = fmt.Sprintf("%q is not allowed: %s", fmt.Sprint(e.BadValue), detail)
		case field.ErrorTypeDuplicate:
			detail = lists.duplicate(path, e.BadValue)
		case field.ErrorTypeInvalid:
			detail = c.noTarget(path, detail)
		}
		if detail == "" {
			detail = string(e.Type)
		}
		c.fail(path, "%s", detail)
	}
}

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// conversion reports the errors of the strict decoder of a Kubernetes kind.
func (c *objectCheck) conversion(prefix string, err error) {
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		for _, e := range strict.Errors() {
			if m := unknownField.FindStringSubmatch(e.Error()); m != nil {
				c.fail(strings.TrimPrefix(prefix+"."+m[1], "."), "unknown field: check its name and its place")
			} else {
				c.fail(prefix, "%s", e)
			}
		}
		return
	}
	c.fail(prefix, "is not valid for %s: %s", article(c.gvk.Kind), err)
}
