package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestDatabaseServers starts the testbed's servers in a namespace that enforces the Pod Security level restricted,
// fills them and replaces their pods. The servers must keep their data, or the tests of databases would prove nothing.
func TestDatabaseServers(t *testing.T) {
	t.Parallel()
	const namespace = "database-servers"
	bed := deployed(t)
	databaseNamespace(t, bed, namespace)
	for _, s := range []*databaseServer{
		newPostgreSQL(bed, namespace), newMariaDB(bed, namespace), newRedis(bed, namespace),
	} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			loadDatabases(t, bed, s.Image)
			g := NewWithT(t)
			s.start(t)
			s.say(t, s.fill...)
			before := s.say(t, s.look...)
			t.Log(before)
			s.replace(t)
			g.Expect(s.say(t, s.look...)).To(Equal(before))
			s.say(t, s.drop...)

			var pod corev1.Pod
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: s.Pod()}, &pod)).
				To(Succeed())
			log, err := kubectl(t, bed, "", "logs", "-n", namespace, s.Pod())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(log).NotTo(ContainSubstring(databasePassword))
			g.Expect(strings.Contains(pod.String(), databasePassword)).
				To(BeFalse(), "no password in a pod's description")
		})
	}
}
