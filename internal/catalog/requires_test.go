package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

func TestParametersThatRequireOthers(t *testing.T) {
	parameter := func(name, fallback string, requires ...string) v1alpha1.TaskParameter {
		return v1alpha1.TaskParameter{Parameter: v1alpha1.Parameter{Name: name, Default: fallback}, Requires: requires}
	}
	declared := []v1alpha1.TaskParameter{parameter("databases", ""), parameter("schemas", "", "databases")}
	target := []v1alpha1.StepParam{{Name: "databases", Value: "${targetDatabase:=}"}}
	for name, tc := range map[string]struct {
		target     v1alpha1.TypedObjectReference
		parameters []v1alpha1.TaskParameter
		step       []v1alpha1.StepParam
		params     map[string]string
		variables  []corev1.EnvVar
		wrong      bool
	}{
		"neither": {target: service, parameters: declared},
		"both": {
			target: service, parameters: declared, params: map[string]string{"schemas": "a", "databases": "b"},
		},
		"the required parameter alone": {
			target: service, parameters: declared, params: map[string]string{"databases": "b"},
		},
		"a parameter without its requirement": {
			target: service, parameters: declared, params: map[string]string{"schemas": "a"}, wrong: true,
		},
		"the required parameter is an empty list": {
			target: service, parameters: declared, params: map[string]string{"schemas": "a", "databases": " , "},
			wrong: true,
		},
		"the parameter is an empty list": {
			target: service, parameters: declared, params: map[string]string{"schemas": " ,"},
		},
		"a variable sets the requirement": {
			target: service, parameters: declared, params: map[string]string{"schemas": "a"},
			variables: []corev1.EnvVar{{Name: "databases", Value: "b"}},
		},
		"a variable sets the parameter": {
			target: service, parameters: declared, variables: []corev1.EnvVar{{Name: "schemas", Value: "b"}},
			wrong: true,
		},
		"a default of the requirement": {
			target: service, parameters: []v1alpha1.TaskParameter{
				parameter("databases", "b"),
				parameter("schemas", "", "databases"),
			}, params: map[string]string{"schemas": "a"},
		},
		"a default of the parameter": {
			target: service, parameters: []v1alpha1.TaskParameter{
				parameter("databases", ""),
				parameter("schemas", "a", "databases"),
			}, wrong: true,
		},
		"a Service never names a database": {
			target: service, parameters: declared, step: target, params: map[string]string{"schemas": "a"}, wrong: true,
		},
		"an AppBinding never names a database": {
			target: appBinding, parameters: declared, step: target, params: map[string]string{"schemas": "a"},
			wrong: true,
		},
		"a Secret can name a database": {
			target: secret, parameters: declared, step: target, params: map[string]string{"schemas": "a"},
		},
		"a Cluster can name a database": {
			target: cluster, parameters: declared, step: target, params: map[string]string{"schemas": "a"},
		},
		"policy overrides the Cluster's database": {
			target: cluster, parameters: declared, step: target, params: map[string]string{
				"schemas":   "a",
				"databases": "",
			}, wrong: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
				Name: "t", Steps: []v1alpha1.TaskStep{{Name: "f", Params: tc.step}}, Parameters: tc.parameters,
			}}}}
			g.Expect(catalog.AddonMistakes(addon)).To(BeEmpty())
			info := &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name: "t", Params: catalog.NewParams(tc.params),
				Variables: tc.variables,
			}}}
			mistakes := catalog.FunctionMistakes("spec.addon", addon, info, false,
				catalog.PlaceholdersOfBackup(&tc.target,
					1), func(string) *v1alpha1.Function { return nil })
			if !tc.wrong {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(ConsistOf(And(HaveField("Field", "spec.addon.tasks[0].params.schemas"),
				HaveField("Reason", v1alpha1.ReasonInvalidParameters),
				HaveField("Message", ContainSubstring(`"schemas" needs the parameter "databases"`)))))
		})
	}
}

func TestRequirementsThatNobodyCanMeet(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
		Name: "t", Function: "f",
		Parameters: []v1alpha1.TaskParameter{
			{Parameter: v1alpha1.Parameter{Name: "a"}, Requires: []string{"b", "c", "a"}},
			{Parameter: v1alpha1.Parameter{Name: "b"}},
		},
	}}}}
	g.Expect(catalog.AddonMistakes(addon)).To(ConsistOf(
		And(HaveField("Field", "spec.restoreTasks[0].parameters[0].requires[1]"),
			HaveField("Message", ContainSubstring(`"c" is not another parameter`))),
		HaveField("Field", "spec.restoreTasks[0].parameters[0].requires[2]"),
	))
}
