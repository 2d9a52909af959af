package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
)

var gitRepository = schema.GroupKind{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository"}

// sources returns the objects of the cluster that follow a branch: PolicySyncs, and Flux GitRepositories if the cluster
// has the kind. It reads past the cache, because a push follows.
func (r *Reconciler) sources(ctx context.Context) ([]ledger.Source, error) {
	var syncs v1alpha1.PolicySyncList
	if err := r.APIReader.List(ctx, &syncs); err != nil {
		return nil, fmt.Errorf("list PolicySyncs: %w", err)
	}
	var out []ledger.Source
	for i := range syncs.Items {
		if !v1alpha1.HasRecordAnnotation(syncs.Items[i].Annotations) {
			out = append(out, ledger.SourceOf(&syncs.Items[i]))
		}
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
	// The kind can have disappeared since the mapper looked.
	err = r.APIReader.List(ctx, &repositories)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list GitRepositories: %w", err)
	}
	for i := range repositories.Items {
		o := &repositories.Items[i]
		url, _, _ := unstructured.NestedString(o.Object, "spec", "url")
		artifact, _, _ := unstructured.NestedString(o.Object, "status", "artifact", "revision")
		ref := fluxRef(o.Object)
		out = append(out, ledger.Source{
			Kind: gitRepository.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), URL: url, Ref: ref,
			Claim: ledger.FluxClaim(o, ref, artifact), Foreign: true,
		})
	}
	return out, nil
}

// checkBranch returns an error if a source of policy keeps the Ledger from its branch. It says on the Ledger which
// others name the branch.
func (r *Reconciler) checkBranch(ctx context.Context, l *v1alpha1.Ledger) error {
	sources, err := r.sources(ctx)
	if err != nil {
		return err
	}
	claim, following := ledger.ClaimOf(l), ledger.Following(l, sources)
	stops := func(s ledger.Source) bool { return s.Stops(claim) }
	r.sayWatched(l, slices.DeleteFunc(slices.Clone(following), stops))
	if i := slices.IndexFunc(following, stops); i >= 0 {
		return stalled(v1alpha1.ReasonWatchedBranch, fmt.Sprintf(
			"%s follows the branch %s of this repository: records would become policy; choose another spec.branch",
			r.nameFor(l, following[i]), l.Spec.Branch))
	}
	return nil
}

// nameFor returns how a message on a Ledger names a source. Whoever reads the Ledger need not be allowed to see other
// namespaces, unless it is the administrators'.
func (r *Reconciler) nameFor(l *v1alpha1.Ledger, s ledger.Source) string {
	if s.Namespace == l.Namespace || r.Administrators.Has(l.Namespace) {
		return s.String()
	}
	return "a " + s.Kind + " of another namespace"
}

// sayWatched says that sources of policy name the branch of the Ledger and do not keep it from writing.
func (r *Reconciler) sayWatched(l *v1alpha1.Ledger, sources []ledger.Source) {
	if len(sources) == 0 {
		conditions.Delete(l, v1alpha1.ConditionBranchWatched)
		return
	}
	first, known := sources[0], conditions.IsTrue(l, v1alpha1.ConditionBranchWatched)
	if i := slices.IndexFunc(sources, func(s ledger.Source) bool { return s.Foreign }); i >= 0 {
		first = sources[i] // Cairn can't refuse it
	}
	then := "Cairn refuses it, and goes on to push"
	if first.Foreign {
		then = "Cairn goes on to push, and Flux can take records for policy: correct the " + first.Kind +
			", or choose another spec.branch"
	}
	conditions.MarkTrue(l, v1alpha1.ConditionBranchWatched, v1alpha1.ReasonBranchWatched,
		"%s names the branch %s of this repository as policy: %s", r.nameFor(l, first), l.Spec.Branch, then)
	if !known {
		r.EventRecorder.Event(l, corev1.EventTypeWarning, v1alpha1.ReasonBranchWatched,
			conditions.GetMessage(l, v1alpha1.ConditionBranchWatched))
	}
}

// announcePush writes to the status that a first push to a branch begins, and looks again whether a PolicySync has
// begun to follow the branch meanwhile. A PolicySync writes that it has read the branch before it looks for a Ledger,
// so one of the two always sees the other.
func (r *Reconciler) announcePush(ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger) error {
	if ledger.ClaimOf(l).Proved {
		return nil
	}
	if here := ledger.PushedTo(l); l.Status.PushingTo != here {
		l.Status.PushingTo = here
		if err := r.patch(ctx, patcher, l); err != nil {
			return err
		}
	}
	return r.checkBranch(ctx, l)
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
