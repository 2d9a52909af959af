package policy_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

func storageWithPrefix(prefix string) *v1alpha1.BackupStorage {
	s := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: "backup", Name: "s3"}}
	s.Spec.UsagePolicy = &v1alpha1.StorageUsagePolicy{DirectoryPrefix: prefix}
	return s
}

func TestWhereTheRepositoriesOfANamespaceLie(t *testing.T) {
	t.Parallel()
	const own, tenants = "/{namespace}", "/tenants/{cluster}/{namespace}"
	for name, tt := range map[string]struct {
		prefix, namespace, directory string
		allowed                      bool
	}{
		"below its name":                      {own, "a", "/a/web", true},
		"its name":                            {own, "a", "a/", true},
		"a name that begins alike":            {own, "a", "/ab", false},
		"below a name that begins alike":      {own, "a", "/ab/web", false},
		"another name":                        {own, "a", "/b/web", false},
		"around its name":                     {tenants, "a", "/tenants/prod", false},
		"out and in again":                    {own, "a", "/b/../a", false},
		"in and out again":                    {own, "a", "/a/../b", false},
		"slashes that mean nothing":           {own, "a", "//a//web/", true},
		"its name in another place":           {own, "a", "/web/a", false},
		"a reserved name":                     {own, "a", "/a/kopia", false},
		"nothing":                             {own, "a", "", false},
		"of the cluster":                      {tenants, "a", "/tenants/prod/a/web", true},
		"of another cluster":                  {tenants, "a", "/tenants/test/a/web", false},
		"of another namespace":                {tenants, "a", "/tenants/prod/b", false},
		"a fixed directory":                   {"/shared", "a", "/shared/b", true},
		"not in the fixed directory":          {"/shared", "a", "/a", false},
		"no prefix":                           {"", "a", "/prod", true},
		"the storage's own namespace":         {own, "backup", "/prod", true},
		"a namespace with a reserved name":    {own, "kopia", "/kopia/web", false},
		"a placeholder that no version knows": {"/{user}", "a", "/a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusal := policy.DirectoryRefusal(storageWithPrefix(tt.prefix), "prod", tt.namespace, tt.directory)
			NewWithT(t).Expect(refusal == "").To(Equal(tt.allowed), refusal)
		})
	}
	g := NewWithT(t)
	g.Expect(policy.DirectoryRefusal(storageWithPrefix(tenants), "prod", "a", "/b")).To(Equal(
		`the usagePolicy of BackupStorage backup/s3 allows the namespace a only directories at or below ` +
			`/tenants/prod/a, and not "/b": choose a directory there`))
	g.Expect(policy.DirectoryRefusal(storageWithPrefix(tenants), "", "a", "/tenants/a")).NotTo(BeEmpty(),
		"a manager that does not know its cluster allows nothing")
	g.Expect(policy.DirectoryRefusal(&v1alpha1.BackupStorage{}, "prod", "a", "/b")).To(BeEmpty())
	g.Expect(policy.ClusterIn(storageWithPrefix(tenants), "/tenants/any/a/web")).To(Equal("any"))
	g.Expect(policy.ClusterIn(storageWithPrefix(tenants), "/tenants")).To(BeEmpty())
	g.Expect(policy.ClusterIn(storageWithPrefix(own), "/a")).To(BeEmpty())
}
