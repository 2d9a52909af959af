package policysync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/ssa"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
)

// owner marks applied objects: it holds the field manager, and the group of LabelSyncName and LabelSyncNamespace.
var owner = ssa.Owner{Field: "cairn-policysync", Group: "policysync." + v1alpha1.Group}

// concurrency limits the concurrent requests of one PolicySync to the API server.
const concurrency = 8

// applier applies and deletes objects for one PolicySync, as the ServiceAccount that it names. Its client reads past
// the cache.
type applier struct {
	*reconciling
	client client.Client
	// stays are the objects that no prune deletes.
	stays []v1alpha1.ResourceRef
	// part tells others of a revision that changes what decides. It is nil in a pass that writes no status.
	part *part
	// going are the objects of the revision that are being deleted, or whose Namespace is: they can't be applied now.
	// waits says in words what is being deleted, and what it waits for.
	going map[key]bool
	waits []string
}

func (s *reconciling) applier(ctx context.Context) (*applier, *fault) {
	config := rest.CopyConfig(s.RESTConfig)
	// The API server's priority and fairness slow down a client that asks too much.
	config.QPS, config.Burst = -1, -1
	if name := s.obj.Spec.ServiceAccountName; name != "" {
		account := &corev1.ServiceAccount{}
		err := s.APIReader.Get(ctx, types.NamespacedName{Namespace: s.obj.Namespace, Name: name}, account)
		switch {
		// impersonation would work without the ServiceAccount, with the rights of its name
		case apierrors.IsNotFound(err):
			return nil, &fault{
				reason: v1alpha1.ReasonServiceAccountAbsent,
				message: fmt.Sprintf(
					"ServiceAccount %s/%s does not exist: create it or correct spec.serviceAccountName",
					s.obj.Namespace, name),
			}
		case apierrors.IsForbidden(err):
			return nil, notImpersonated("ServiceAccount " + name)
		case err != nil:
			return nil, applyFault(ctx, err, nil)
		}
		config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + s.obj.Namespace + ":" + name}
	}
	c, err := client.New(config, client.Options{Scheme: s.Scheme, Mapper: s.RESTMapper()})
	if err != nil {
		return nil, applyFault(ctx, err, nil)
	}
	return &applier{reconciling: s, client: c}, nil
}

// notImpersonated returns the fault of a manager that lacks the right to act as an account.
func notImpersonated(account string) *fault {
	return &fault{
		reason: v1alpha1.ReasonImpersonationForbidden, stalled: true,
		message: fmt.Sprintf("Cairn is not allowed to act as %s: set spec.serviceAccountName to %s and give that "+
			"account the rights, or let the administrator of the cluster install the component "+
			"config/impersonation, with which Cairn can act as any ServiceAccount", account,
			v1alpha1.PolicyServiceAccount),
	}
}

// refusesImpersonation reports whether the API server does not let the manager act as an account. What the account
// itself is not allowed to do is no such error. The verb is impersonate, or in newer API servers one that begins alike,
// such as impersonate-on:serviceaccount:get.
func refusesImpersonation(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot impersonate")
}

// part tells others, in the status, of a revision that changes what decides which Snapshots go, and whether it is
// applied in part.
type part struct {
	*reconciling
	revision string
	knownAt  time.Time
}

// announce writes to the status that the revision changes what decides, and if it is several objects, that from now on
// the cluster can hold a part of it.
func (p *part) announce(ctx context.Context, several bool) error {
	status := &p.obj.Status
	known := status.LastChangedRevision == p.revision && (!several || status.ApplyingRevision == p.revision)
	if known {
		return nil
	}
	p.markChange()
	if several {
		status.ApplyingRevision = p.revision
	}
	return p.write(ctx)
}

// markFirst counts the first revision of all as a change of policy if anything of it decides, also if it writes
// nothing: a PolicySync that was made again, or whose status was lost, no longer knows what it has changed.
func (p *part) markFirst(objects []build.Object) {
	if p.obj.Status.LastAppliedRevision == "" && slices.ContainsFunc(objects, func(o build.Object) bool {
		return decides(o.Unstructured.GroupVersionKind())
	}) {
		p.markChange()
	}
}

// markChange puts into the status that the revision changes what decides.
func (p *part) markChange() {
	if status := &p.obj.Status; status.LastChangedRevision != p.revision {
		status.LastChangedRevision, status.LastChangedTime = p.revision, new(metav1.NewTime(p.knownAt))
	}
}

// end says that nothing of the revision is left to be applied. The end of the pass writes it.
func (p *part) end() { p.obj.Status.ApplyingRevision = "" }

// checkFor is how long a PolicySync that was found unchanged counts as unchanged.
const checkFor = time.Second

// errOvertaken means that somebody else has written to the PolicySync since this reconcile read it.
var errOvertaken = errors.New("the PolicySync has changed meanwhile: the reconcile starts anew")

// current fails if somebody else has written to the PolicySync: a process that was paused and has lost its lease must
// not go on with what it read before. It is called before each write, and asks the API server at most once a second.
func (s *reconciling) current(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	if s.overtaken {
		return errOvertaken
	}
	if !s.checked.IsZero() && now.Sub(s.checked) < checkFor {
		return nil
	}
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.PolicySyncKind))
	err := s.APIReader.Get(ctx, client.ObjectKeyFromObject(s.obj), live)
	switch {
	case apierrors.IsNotFound(err),
		err == nil && (live.UID != s.obj.UID || live.ResourceVersion != s.patcher.Version()):
		s.overtaken = true
		return errOvertaken
	case err != nil:
		return fmt.Errorf("get PolicySync %s/%s: %w", s.obj.Namespace, s.obj.Name, err)
	}
	s.checked = now
	return nil
}
