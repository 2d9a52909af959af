package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// policyKinds are the kinds that a PolicySync without a serviceAccountName is allowed to apply: namespaced kinds that
// say what is backed up. PolicySync is not one of them, so a repository can't widen what is pulled.
var policyKinds = []string{
	v1alpha1.BackupBatchKind, v1alpha1.BackupConfigurationKind, v1alpha1.BackupStorageKind, v1alpha1.HookTemplateKind,
	v1alpha1.LedgerKind,
	v1alpha1.RepositoryKind, v1alpha1.RestoreBatchKind, v1alpha1.RestoreSessionKind, v1alpha1.RetentionPolicyKind,
}

// Confined reports whether a PolicySync without a serviceAccountName is allowed to apply a kind, in its own
// namespace.
func Confined(gk schema.GroupKind) bool {
	return gk.Group == v1alpha1.Group && slices.Contains(policyKinds, gk.Kind)
}

// adminKinds are Cairn's kinds that need a serviceAccountName.
var adminKinds = []string{v1alpha1.AddonKind, v1alpha1.FunctionKind, v1alpha1.PolicySyncKind}

// recordKinds record what happened. The cluster makes them.
var recordKinds = []string{v1alpha1.BackupSessionKind, v1alpha1.SnapshotKind}

// nativeKinds are the kinds of Kubernetes that go with policy, each with a function that returns an empty object.
// They need a serviceAccountName.
var nativeKinds = map[schema.GroupVersionKind]func() any{
	corev1.SchemeGroupVersion.WithKind("Namespace"):      func() any { return &corev1.Namespace{} },
	corev1.SchemeGroupVersion.WithKind("Secret"):         func() any { return &corev1.Secret{} },
	corev1.SchemeGroupVersion.WithKind("ConfigMap"):      func() any { return &corev1.ConfigMap{} },
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"): func() any { return &corev1.ServiceAccount{} },
	rbacv1.SchemeGroupVersion.WithKind("Role"):           func() any { return &rbacv1.Role{} },
	rbacv1.SchemeGroupVersion.WithKind("RoleBinding"):    func() any { return &rbacv1.RoleBinding{} },
}

// foreignGroups are the API groups of the systems whose users migrate to Cairn.
var foreignGroups = map[string]string{
	"core.kubestash.com": "KubeStash", "storage.kubestash.com": "KubeStash", "addons.kubestash.com": "KubeStash",
	"stash.appscode.com": "Stash", "repositories.stash.appscode.com": "Stash",
}

// clusterScoped reports whether objects of a kind have no namespace.
func clusterScoped(gk schema.GroupKind) bool {
	switch gk {
	case schema.GroupKind{Kind: "Namespace"}, schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.AddonKind},
		schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.FunctionKind}:
		return true
	}
	return false
}

// refusal returns why a kind can't be applied and which field is wrong. message is empty for a kind that can be
// applied.
func (o Options) refusal(gvk schema.GroupVersionKind) (field, message string) {
	system := foreignGroups[gvk.Group]
	all := slices.Concat(policyKinds, adminKinds)
	known := slices.Concat(all, recordKinds)
	switch {
	case system != "" && slices.Contains(known, gvk.Kind):
		return "apiVersion", fmt.Sprintf(
			"%s is an apiVersion of %s: set it to %s and check the fields of this %s against Cairn's",
			gvk.GroupVersion(),
			system, v1alpha1.GroupVersion, gvk.Kind)
	case system != "":
		return "apiVersion", fmt.Sprintf(
			"%s is an apiVersion of %s, and Cairn has no kind %s: express it as one of %s with apiVersion %s",
			gvk.GroupVersion(), system, gvk.Kind, list(policyKinds), v1alpha1.GroupVersion)
	case gvk.Group == v1alpha1.Group && gvk.Version != v1alpha1.GroupVersion.Version:
		return "apiVersion", fmt.Sprintf("there is no version %s of %s: set %s", gvk.Version, v1alpha1.Group,
			v1alpha1.GroupVersion)
	case gvk.Group == v1alpha1.Group && !slices.Contains(known, gvk.Kind):
		return "kind", fmt.Sprintf("there is no kind %s in %s: it has %s", gvk.Kind, v1alpha1.GroupVersion, list(all))
	case gvk.Group == v1alpha1.Group && slices.Contains(recordKinds, gvk.Kind):
		return "kind", fmt.Sprintf(
			"the cluster makes each %s as a record of what happened: remove it, it must not come from Git", gvk.Kind)
	case Confined(gvk.GroupKind()) || gvk.Group == v1alpha1.Group && !o.Confined:
		return "", ""
	case nativeKinds[gvk] != nil && !o.Confined:
		return "", ""
	case gvk.Group == v1alpha1.Group || nativeKinds[gvk] != nil:
		return "kind",
			fmt.Sprintf("%s is applied only by a PolicySync with spec.serviceAccountName: set it to an account "+
				"with the necessary permissions, or apply this object in another way. Without it only %s are allowed",
				article(gvk.Kind), list(policyKinds))
	}
	return "kind", fmt.Sprintf("%s of %s is not policy: only %s of Cairn, and Namespace, Secret, ConfigMap, "+
		"ServiceAccount, Role and RoleBinding, are applied from Git", gvk.Kind, gvk.GroupVersion(), list(all))
}

func list(names []string) string {
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// policyAnnotations are the annotations of Cairn that policy can set, each with the kinds that have it. All others, and
// all labels, are the manager's own word, or the consent of somebody else.
var policyAnnotations = map[string][]string{
	v1alpha1.AnnotationAllowDelete:        {v1alpha1.PolicySyncKind},
	v1alpha1.AnnotationTrigger:            {v1alpha1.BackupConfigurationKind, v1alpha1.BackupBatchKind},
	v1alpha1.AnnotationRestoreTo:          {v1alpha1.RepositoryKind},
	v1alpha1.AnnotationAdopt:              {v1alpha1.RepositoryKind},
	v1alpha1.AnnotationScan:               {v1alpha1.RepositoryKind},
	v1alpha1.AnnotationGiveUp:             {v1alpha1.BackupStorageKind, v1alpha1.RepositoryKind},
	v1alpha1.AnnotationDropRecords:        {v1alpha1.LedgerKind},
	v1alpha1.AnnotationAcknowledgeDropped: {v1alpha1.LedgerKind},
	v1alpha1.AnnotationShared:             {"Secret"},
	v1alpha1.AnnotationReplacesDefault:    {v1alpha1.RetentionPolicyKind},
}

// templateAnnotations are the annotations of Cairn that a volumeClaimTemplate of a restore can have.
var templateAnnotations = []string{
	v1alpha1.AnnotationComponent, v1alpha1.AnnotationReplace, v1alpha1.AnnotationVolumeSnapshotClass,
}

// reservedAnnotations say why policy can't set an annotation that is not just Cairn's own record: it grants privileges,
// or keeps controllers from acting.
var reservedAnnotations = map[string]string{
	v1alpha1.AnnotationPrivilegedMovers: "must be granted by an administrator of the cluster, never by policy: " +
		"remove it",
	v1alpha1.AnnotationRecord: "marks a record of what happened, on which no controller acts: remove the " +
		"record from policy",
}

// isMark reports whether a label or annotation is in a domain of Cairn.
func isMark(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == v1alpha1.Group || strings.HasSuffix(domain, "."+v1alpha1.Group)
}

// marks refuses labels and annotations of Cairn that policy can't set. An object that was exported from a cluster has
// some.
func (c *objectCheck) marks(labels, annotations map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		kinds, reserved := policyAnnotations[key], reservedAnnotations[key]
		switch {
		case !isMark(key), slices.Contains(kinds, c.gvk.Kind):
		case reserved != "":
			c.fail(join("metadata.annotations", key), "%s", reserved)
		case len(kinds) > 0:
			c.fail(join("metadata.annotations", key), "%.64q has no meaning on %s, only on %s: remove this line",
				annotations[key], article(c.gvk.Kind), strings.Join(kinds, " and "))
		default:
			c.fail(join("metadata.annotations", key), "%s", setByCairn(annotations[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == v1alpha1.LabelPolicyMayUse {
			c.fail(join("metadata.labels", key), "is the consent of whoever owns the Secret, which policy can't give "+
				"to itself: remove this line, and label the Secret in the cluster with kubectl label")
		} else if isMark(key) {
			c.fail(join("metadata.labels", key), "%s", setByCairn(labels[key]))
		}
	}
	c.templates("spec", c.value("spec"))
}

// setByCairn says that policy can't set a mark to a value.
func setByCairn(value string) string {
	return fmt.Sprintf("%.64q is set by Cairn: remove this line from the file", value)
}

// templates refuses marks on the volumeClaimTemplates below a field: they would be on the claims that a restore makes.
func (c *objectCheck) templates(path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := join(path, key)
			if list, ok := v[key].([]any); ok && key == "volumeClaimTemplates" {
				for i, template := range list {
					c.template(fmt.Sprintf("%s[%d].metadata", at, i), template)
				}
				continue
			}
			c.templates(at, v[key])
		}
	case []any:
		for i := range v {
			c.templates(fmt.Sprintf("%s[%d]", path, i), v[i])
		}
	}
}

func (c *objectCheck) template(path string, template any) {
	content, _ := template.(map[string]any)
	meta, _ := content["metadata"].(map[string]any)
	for field, allowed := range map[string][]string{"annotations": templateAnnotations, "labels": nil} {
		marks, _ := meta[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(marks)) {
			if value, ok := marks[key].(string); ok && isMark(key) && !slices.Contains(allowed, key) {
				c.fail(join(join(path, field), key), "%s", setByCairn(value))
			}
		}
	}
}
