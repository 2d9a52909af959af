package read_test

import (
	"context"
	"errors"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

func TestOnlyAContentThatNamesItsVolumeSnapshotBackCounts(t *testing.T) {
	mine := corev1.ObjectReference{Kind: volumesnapshot.Kind, Namespace: "shop", Name: "data-1", UID: "mine"}
	for name, tc := range map[string]struct {
		status *snapshotv1.VolumeSnapshotStatus
		ref    func(*corev1.ObjectReference)
		want   bool
	}{
		"both name each other":           {status: bound("content"), want: true},
		"it has no status":               {},
		"it is bound to no content":      {status: &snapshotv1.VolumeSnapshotStatus{}},
		"it names no content":            {status: bound("")},
		"the content is gone":            {status: bound("gone")},
		"it names an impossible content": {status: bound("../secrets/shop/encryption")},
		"the content of another tenant": {
			status: bound("content"), ref: func(r *corev1.ObjectReference) { r.Namespace = "tenant" },
		},
		"the content of another VolumeSnapshot": {
			status: bound("content"), ref: func(r *corev1.ObjectReference) { r.Name = "data-2" },
		},
		"the content of an older VolumeSnapshot of this name": {
			status: bound("content"), ref: func(r *corev1.ObjectReference) { r.UID = "older" },
		},
		"a content that is not bound": {status: bound("content"), ref: func(r *corev1.ObjectReference) { r.UID = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			g, ref := NewWithT(t), mine
			if tc.ref != nil {
				tc.ref(&ref)
			}
			reader := reading(g, &snapshotv1.VolumeSnapshotContent{
				ObjectMeta: metav1.ObjectMeta{Name: "content"},
				Spec:       snapshotv1.VolumeSnapshotContentSpec{VolumeSnapshotRef: ref},
			}).Build()
			s := &snapshotv1.VolumeSnapshot{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data-1", UID: "mine"}, Status: tc.status,
			}
			content, err := read.BoundContent(t.Context(), reader, s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(content != nil).To(Equal(tc.want))
		})
	}
}

// A content that can't be read must not count as missing: its data would be given up.
func TestAContentThatCannotBeReadIsAnError(t *testing.T) {
	g, down := NewWithT(t), errors.New("down")
	reader := reading(g).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		},
	}).Build()
	s := &snapshotv1.VolumeSnapshot{Status: bound("content")}
	content, err := read.BoundContent(t.Context(), reader, s)
	g.Expect(err).To(MatchError(down))
	g.Expect(content).To(BeNil())
}

func bound(name string) *snapshotv1.VolumeSnapshotStatus {
	return &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &name}
}

func reading(g *WithT, objects ...client.Object) *fake.ClientBuilder {
	scheme := runtime.NewScheme()
	g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
}
