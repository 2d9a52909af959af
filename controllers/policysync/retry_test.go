package policysync

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// answer makes the API server answer patches of a path with an error.
func (r *testNamespace) answer(part string, code int32, message string) {
	r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method != http.MethodPatch || !strings.Contains(req.URL.Path, part) {
			return next.RoundTrip(req)
		}
		body, err := json.Marshal(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code,
			Message: message,
		})
		return &http.Response{
			StatusCode: int(code), Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
			Body: io.NopCloser(bytes.NewReader(body)),
		}, err
	}
}

// Whatever fails for long, also the write of the status, is tried again within the retryInterval.
func TestAFaultIsTriedAgainWithinTheRetryInterval(t *testing.T) {
	r := newRoom(t, func(s *v1alpha1.PolicySync) {
		s.Spec.RetryInterval = &metav1.Duration{Duration: 20 * time.Second}
	})
	r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	req := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)}
	limiter := r.rateLimiter()
	r.answer("/policysyncs/", http.StatusInternalServerError, "down")
	var last time.Duration
	for range 80 {
		last = limiter.When(req)
		r.g.Expect(last).To(BeNumerically("<=", 20*time.Second))
	}
	r.g.Expect(last).To(Equal(20 * time.Second))
	_, err := r.Reconcile(t.Context(), req)
	r.g.Expect(err).To(MatchError(ContainSubstring("down")))
	limiter.Forget(req)
	r.g.Expect(limiter.When(req)).To(Equal(firstRetry))
	other := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: r.namespace, Name: "gone"}}
	for range 80 {
		r.g.Expect(limiter.When(other)).To(BeNumerically("<=", defaultInterval))
	}

	r.answer("/backupstorages/b", http.StatusInternalServerError, "down")
	for range 3 {
		r.g.Expect(r.reconcile().RequeueAfter).To(Equal(20 * time.Second))
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "down")
	}
}

// A pass that somebody asked for finds the object earlier than the regular look. It is tried again until the object is
// back.
func TestAPassThatFailedReplacesTheLastOne(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	r.reconcile()
	s := &v1alpha1.BackupStorage{}
	r.deleted(s, "a")
	before := r.sync.DeepCopy() // an update would also change the generation
	r.sync.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
	r.g.Expect(r.Patch(t.Context(), r.sync, client.MergeFrom(before))).To(Succeed())
	for range 2 {
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "/a is being deleted: Cairn applies it again once it is gone."+
			" Check its finalizers")
	}
	r.releases(s, "a")
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(s, "a")).To(BeTrue())
}
