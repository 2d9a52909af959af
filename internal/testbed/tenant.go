package testbed

import (
	"fmt"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// UserRoles is the file with the ClusterRoles that Cairn ships for users, for WithManifests.
const UserRoles = "config/rbac/user_roles.yaml"

// Tenant returns the client of somebody who has the shipped roles cairn-edit and cairn-view in one namespace, and no
// other right. The bed needs UserRoles.
func (b *Bed) Tenant(t testing.TB, namespace string) client.Client {
	t.Helper()
	user := "tenant-of-" + namespace
	for _, role := range []string{"cairn-edit", "cairn-view"} {
		b.Create(t, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		})
	}
	config := rest.CopyConfig(b.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: b.Client.Scheme()})
	if err != nil {
		t.Fatalf("make the client of a tenant: %v", err)
	}
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsForbidden(c.Create(t.Context(), S3(namespace), client.DryRunAll))
	}, Patience, Interval).Should(BeFalse(), "the rights of the tenant are in force")
	return c
}

// administrators is how many namespaces of administrators a bed can have.
const administrators = 16

// Administrators returns the names of the namespaces that Administrator creates, for a controller that asks which
// namespaces are the administrators'.
func Administrators() []string {
	names := make([]string, administrators)
	for i := range names {
		names[i] = fmt.Sprintf("admin-%d", i)
	}
	return names
}

// used counts the namespaces of administrators that exist.
var used atomic.Int32

// Administrator creates a namespace of administrators for a test.
func (b *Bed) Administrator(t testing.TB) string {
	t.Helper()
	name := Administrators()[used.Add(1)-1]
	b.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return name
}
