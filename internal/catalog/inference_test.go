package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

func TestAddonOf(t *testing.T) {
	for name, tc := range map[string]struct {
		target v1alpha1.TypedObjectReference
		told   *catalog.DatabaseInfo // nil: ask must not be called
		want   string
		reason string
		says   string
	}{
		"a claim":   {target: claim, want: "pvc-addon"},
		"a Cluster": {target: cluster, want: "postgres-addon"},
		"a Service": {
			target: service, reason: v1alpha1.ReasonAddonNotFound,
			says: "Service/db does not tell the type of its database",
		},
		"an AppBinding of KubeDB": {
			target: appBinding, told: &catalog.DatabaseInfo{Found: true, Type: "kubedb.com/postgres"},
			want: "postgres-addon",
		},
		"an AppBinding made by hand": {
			target: appBinding, told: &catalog.DatabaseInfo{Found: true, Type: "MariaDB"}, want: "mariadb-addon",
		},
		"a Secret": {
			target: secret, told: &catalog.DatabaseInfo{Found: true, Type: "servicebinding.io/postgresql"},
			want: "postgres-addon",
		},
		"a Secret of MySQL": {
			target: secret, told: &catalog.DatabaseInfo{Found: true, Type: "servicebinding.io/mysql"},
			want: "mysql-addon",
		},
		"a Secret of Redis": {
			target: secret, told: &catalog.DatabaseInfo{Found: true, Type: "servicebinding.io/redis"},
			want: "redis-addon",
		},
		"a missing AppBinding": {
			target: appBinding, told: &catalog.DatabaseInfo{}, reason: v1alpha1.ReasonTargetNotFound,
			says: "there is no AppBinding/db",
		},
		"an AppBinding without a type": {
			target: appBinding, told: &catalog.DatabaseInfo{Found: true}, reason: v1alpha1.ReasonAddonNotFound,
			says: "with its task. Known types are postgresql, mariadb, mysql and redis, in spec.type",
		},
		"a Secret of any type": {
			target: secret, told: &catalog.DatabaseInfo{Found: true}, reason: v1alpha1.ReasonAddonNotFound,
			says: "in the Secret's type as servicebinding.io/redis",
		},
		"a type without an Addon": {
			target: appBinding, told: &catalog.DatabaseInfo{Found: true, Type: "kubedb.com/mongodb"},
			reason: v1alpha1.ReasonAddonNotFound,
			says:   `has the type "kubedb.com/mongodb", for which there is no built-in Addon: name the Addon`,
		},
		"a type that ends in a slash": {
			target: secret, told: &catalog.DatabaseInfo{Found: true, Type: "servicebinding.io/"},
			reason: v1alpha1.ReasonAddonNotFound, says: "there is no built-in Addon",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, none := catalog.AddonOf(tc.target, func() catalog.DatabaseInfo {
				g.Expect(tc.told).NotTo(BeNil(), "the kind decides, or nothing does")
				return *tc.told
			})
			g.Expect(got).To(Equal(tc.want))
			if tc.reason == "" {
				g.Expect(none).To(BeNil())
				return
			}
			g.Expect(none).To(HaveField("Reason", tc.reason))
			g.Expect(none.Message).To(ContainSubstring(tc.says))
		})
	}
}

func TestWhatOnlyAClusterTells(t *testing.T) {
	g := NewWithT(t)
	for target, mistakes := range map[v1alpha1.TypedObjectReference]int{
		service: 1, secret: 0, appBinding: 0,
		cluster: 0, claim: 0,
	} {
		c := &v1alpha1.BackupConfiguration{Spec: v1alpha1.BackupConfigurationSpec{
			Target: &target, Sessions: []v1alpha1.BackupConfigurationSession{
				{SessionConfig: v1alpha1.SessionConfig{Name: "s"}},
			},
		}}
		g.Expect(check.ConfigurationMistakes(c)).To(HaveLen(mistakes), target.Kind)
	}
}
