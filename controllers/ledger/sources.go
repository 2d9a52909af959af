package ledger

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

var gitRepository = schema.GroupKind{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository"}

// sources returns the objects of the cluster that follow a branch: PolicySyncs, and Flux GitRepositories if the cluster
// has the kind.
func (r *Reconciler) sources(ctx context.Context) ([]ledger.Source, error) {
	var syncs v1alpha1.PolicySyncList
	if err := r.List(ctx, &syncs); err != nil {
		return nil, fmt.Errorf("list PolicySyncs: %w", err)
	}
	var out []ledger.Source
	for _, s := range syncs.Items {
		out = append(out, ledger.Source{
			Kind: v1alpha1.PolicySyncKind, Namespace: s.Namespace, Name: s.Name, URL: s.Spec.URL,
			Ref: refOf(s.Spec.Ref),
		})
	}
	mapping, err := r.RESTMapper().RESTMapping(gitRepository)
	if meta.IsNoMatchError(err) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get kind GitRepository of Flux: %w", err)
	}
	var repositories unstructured.UnstructuredList
	repositories.SetGroupVersionKind(mapping.GroupVersionKind)
	// Not cached: nobody else reads them. The kind can have disappeared since the mapper looked.
	err = r.APIReader.List(ctx, &repositories)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list GitRepositories: %w", err)
	}
	for _, o := range repositories.Items {
		url, _, _ := unstructured.NestedString(o.Object, "spec", "url")
		out = append(out, ledger.Source{
			Kind: gitRepository.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), URL: url, Ref: fluxRef(o.Object),
		})
	}
	return out, nil
}

func refOf(ref *v1alpha1.GitRef) string {
	switch {
	case ref == nil, *ref == v1alpha1.GitRef{}:
		return "main"
	default:
		return ref.Branch
	}
}

// fluxRef follows the precedence of source-controller. Flux looks for a commit in the branch, so the branch counts as
// followed.
func fluxRef(o map[string]any) string {
	ref, _, _ := unstructured.NestedStringMap(o, "spec", "ref")
	switch {
	case ref["commit"] != "" && ref["branch"] != "":
		return ref["branch"]
	case ref["commit"] != "":
		return ""
	case ref["name"] != "":
		if strings.HasPrefix(ref["name"], "refs/") {
			return ref["name"]
		}
		return ""
	case ref["semver"] != "", ref["tag"] != "":
		return ""
	case ref["branch"] != "":
		return ref["branch"]
	default:
		return "master"
	}
}
