package policysync

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa/normalize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/managedfields"
	"github.com/cairn-backup/cairn/internal/policy"
)

// secretChanges collects what a revision would change in Secrets that are in use.
type secretChanges struct {
	foreign, asked []string // in words; asked may change with a consent
	states         []string // of the Secrets that may
}

// guardSecrets returns a fault if a revision would replace what others need. The values of a Secret that this
// PolicySync has not applied can be the only ones. A password that it has applied changes only with a consent. The
// same holds for the values of a Secret to which it has applied only a label or an annotation.
func (a *applier) guardSecrets(
	ctx context.Context, revision string, objects []build.Object, live liveObjects,
) *fault {
	var found secretChanges
	needed := sync.OnceValues(func() (users, error) { return a.needed(ctx, nobody) })
	for _, o := range objects {
		have := live[keyOf(o.Unstructured)]
		if o.Unstructured.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: secretKind}) || have == nil {
			continue
		}
		if err := a.compareSecret(ctx, o, have, needed, &found); err != nil {
			return applyFault(ctx, err, objects)
		}
	}
	if len(found.foreign) > 0 {
		return &fault{
			reason: v1alpha1.ReasonSecretInUse, stalled: true,
			message: strings.Join(found.foreign, "; ") + ": nothing was applied. This PolicySync did not make it, so " +
				"its values can be the only ones. Give the file the same values, or another name",
		}
	}
	if len(found.asked) == 0 {
		return nil
	}
	change := digestOfChange(revision, found.states)
	if a.given() == change {
		return nil
	}
	return &fault{
		reason: v1alpha1.ReasonSecretInUse, stalled: true, awaits: change,
		message: fmt.Sprintf("%s: nothing was applied. Keep a copy of the old values: backups can be read only with "+
			"the password that they were made with. If you mean the change, run: kubectl annotate policysync "+
			"-n %s %s --overwrite %s=%s", strings.Join(found.asked, "; "), a.obj.Namespace, a.obj.Name,
			v1alpha1.AnnotationAllowDelete, change),
	}
}

// compareSecret adds to found what an apply would change in a Secret that others need.
func (a *applier) compareSecret(
	ctx context.Context, o build.Object, have *unstructured.Unstructured, needed func() (users, error),
	found *secretChanges,
) error {
	want := o.Unstructured.DeepCopy()
	if err := normalize.UnstructuredList([]*unstructured.Unstructured{want}); err != nil {
		return fmt.Errorf("normalise objects: %w", err)
	}
	if maps.Equal(dataOf(want), dataOf(have)) {
		return nil
	}
	of, err := needed()
	k, name := keyOf(have), client.ObjectKeyFromObject(have)
	if err != nil || of.secrets[name] == "" {
		return err
	}
	data, err := json.Marshal(want.Object)
	if err != nil {
		return fmt.Errorf("encode %s/%s: %w", want.GetKind(), want.GetName(), err)
	}
	err = a.client.Patch(ctx, want, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(owner.Field),
		client.ForceOwnership, client.DryRunAll)
	if err != nil {
		return &objectError{k, err}
	}
	says := func(keys []string, user string) string {
		return fmt.Sprintf("%s: Secret/%s/%s would get another %s, but %s uses it",
			o.File, name.Namespace, name.Name, strings.Join(keys, ", "), user)
	}
	changed, password := changesOf(dataOf(have), dataOf(want))
	if !a.holds(have) {
		if len(changed) > 0 {
			found.foreign = append(found.foreign, says(changed, of.secrets[name]))
		}
		return nil
	}
	others, err := othersOf(have, changed)
	if err != nil {
		return &objectError{k, err}
	}
	switch user := of.passwords[name]; {
	case password && user != "":
		found.asked = append(found.asked, says([]string{v1alpha1.EncryptionPassword}, user))
	case len(others) > 0:
		found.asked = append(found.asked, says(others, of.secrets[name]))
	default:
		return nil
	}
	found.states = append(found.states, fmt.Sprintf("%s %s %s", name, have.GetUID(), have.GetResourceVersion()))
	return nil
}

// holds reports whether this PolicySync has applied the object.
func (a *applier) holds(u *unstructured.Unstructured) bool {
	id := object.UnstructuredToObjMetadata(u).String()
	return a.owns(u) && slices.ContainsFunc(a.inventory, func(ref v1alpha1.ResourceRef) bool { return ref.ID == id })
}

// othersOf returns those of a Secret's keys whose values no PolicySync has applied: it can have applied a label alone.
func othersOf(secret *unstructured.Unstructured, keys []string) (others []string, err error) {
	applied, err := managedfields.AppliedBy(owner.Field, secret)
	if err != nil {
		return nil, err
	}
	have := dataOf(secret)
	for _, k := range keys {
		if _, ok := have[k]; ok && !applied.Has(fieldpath.MakePathOrDie("data", k)) {
			others = append(others, k)
		}
	}
	return others, nil
}

// changesOf returns the keys whose values an apply would replace or remove, and whether the password is among them.
func changesOf(have, want map[string]string) (keys []string, password bool) {
	for k, v := range have {
		if want[k] != v {
			keys = append(keys, k)
		}
	}
	before := passwordIn(have)
	password = before != "" && before != passwordIn(want)
	isPassword := func(k string) bool { return slices.Contains(policy.PasswordKeys(), k) }
	if password && !slices.ContainsFunc(keys, isPassword) {
		keys = append(keys, v1alpha1.EncryptionPassword) // it is new, and takes precedence
	}
	slices.Sort(keys)
	return keys, password
}

// passwordIn returns the password that movers would find, as encoded as the values are.
func passwordIn(data map[string]string) string {
	_, password := policy.PasswordOf(func(k string) string { return data[k] })
	return password
}

// dataOf returns the encoded values of a Secret.
func dataOf(secret *unstructured.Unstructured) map[string]string {
	data, _, _ := unstructured.NestedStringMap(secret.Object, "data")
	return data
}

// digestOfChange identifies a change of Secrets from their present states by a revision. It holds none of their values.
// A Secret has another state after the change: so the consent counts once.
func digestOfChange(revision string, states []string) string {
	slices.Sort(states)
	return digest("change\n" + revision + "\n" + strings.Join(states, "\n"))
}
