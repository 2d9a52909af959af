package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
)

func TestResolveFillsInVariablesAndParameters(t *testing.T) {
	type result struct {
		args   []string
		params map[string]string
		reason string
	}
	declared := []v1alpha1.TaskParameter{
		{Parameter: v1alpha1.Parameter{Name: "exclude"}},
		{Parameter: v1alpha1.Parameter{Name: "level", Default: "3"}},
	}
	for name, tc := range map[string]struct {
		args       []string
		parameters []v1alpha1.TaskParameter
		params     string
		want       result
	}{
		"a variable and a parameter": {
			args: []string{"backup", "--ns=${namespace}", "--exclude=${exclude}"}, parameters: declared,
			params: `{"exclude":"*.tmp"}`,
			want: result{
				args: []string{"backup", "--ns=shop", "--exclude=*.tmp"}, params: map[string]string{
					"exclude": "*.tmp",
					"level":   "3",
				},
			},
		},
		"a default in the Function, both spellings": {
			args: []string{"${exclude:=a}", "${exclude:-b}", "${level:=9}", "${exclude:=}"}, parameters: declared,
			want: result{args: []string{"a", "b", "3", ""}, params: map[string]string{"exclude": "", "level": "3"}},
		},
		"a value that looks like a variable stays as it is": {
			args: []string{"${exclude}"}, parameters: declared, params: `{"exclude":"${namespace} \" } $x"}`,
			want: result{
				args: []string{`$${namespace} " } $$x`}, params: map[string]string{
					"exclude": `${namespace} " } $x`,
					"level":   "3",
				},
			},
		},
		"a dollar without braces stays a dollar": {
			args: []string{"$5 $namespace }{"}, want: result{
				args:   []string{"$5 $namespace }{"},
				params: map[string]string{},
			},
		},
		"an unknown variable": {
			args: []string{"${nmespace}"}, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a variable that is not known here": {
			args: []string{"${restoreSession}"}, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a variable that is not closed": {
			args: []string{"${namespace"}, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a shell's operator": {
			args: []string{"${namespace%x}"}, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"an empty name": {
			args: []string{"${}"}, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"an unknown parameter": {
			parameters: declared, params: `{"exclud":"x"}`, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a parameter that is no string": {
			parameters: declared, params: `{"level":3}`, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"params that are no object": {
			parameters: declared, params: `[1]`, want: result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a required parameter that is absent": {
			parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "db", Required: true}}},
			want:       result{reason: v1alpha1.ReasonInvalidParameters},
		},
		"a parameter named like the image": {
			parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "moverImage"}}},
			want:       result{reason: v1alpha1.ReasonInvalidParameters},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			addon := &v1alpha1.Addon{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.AddonSpec{
				BackupTasks: []v1alpha1.Task{{Name: "t", Function: "f", Parameters: tc.parameters}},
			}}
			function := &v1alpha1.Function{
				ObjectMeta: metav1.ObjectMeta{Name: "f"},
				Spec:       v1alpha1.FunctionSpec{Image: "${moverImage}", Args: tc.args},
			}
			info := v1alpha1.AddonInfo{Name: "a", Tasks: []v1alpha1.TaskReference{{Name: "t"}}}
			if tc.params != "" {
				info.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(tc.params)}
			}
			got, params, rerr := catalog.Resolve(addon, func(string) *v1alpha1.Function { return function },
				info, false,
				catalog.Variables{MoverImage: "mover:v1", Namespace: "shop"})
			if tc.want.reason != "" {
				g.Expect(rerr).NotTo(BeNil())
				g.Expect(rerr.Reason).To(Equal(tc.want.reason))
				g.Expect(rerr.Message).NotTo(BeEmpty())
				return
			}
			g.Expect(rerr).To(BeNil())
			g.Expect(got.Args).To(Equal(tc.want.args))
			g.Expect(params).To(Equal(tc.want.params))
			g.Expect(got.Image).To(Equal("mover:v1"))
			g.Expect(got.Driver).To(Equal(v1alpha1.DriverKopia))
		})
	}
}

func TestResolveSaysWhatIsMissing(t *testing.T) {
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{Name: "t", Function: "f"}}}}
	none := func(string) *v1alpha1.Function { return nil }
	for name, tc := range map[string]struct {
		addon   *v1alpha1.Addon
		task    string
		restore bool
		reason  string
	}{
		"the Addon":                 {task: "t", reason: v1alpha1.ReasonAddonNotFound},
		"the task":                  {addon: addon, task: "u", reason: v1alpha1.ReasonTaskNotFound},
		"a restore task":            {addon: addon, task: "t", restore: true, reason: v1alpha1.ReasonTaskNotFound},
		"the Function of the Addon": {addon: addon, task: "t", reason: v1alpha1.ReasonFunctionNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, _, rerr := catalog.Resolve(tc.addon, none,
				v1alpha1.AddonInfo{
					Name:  "a",
					Tasks: []v1alpha1.TaskReference{{Name: tc.task}},
				}, tc.restore, catalog.Variables{})
			g.Expect(rerr).NotTo(BeNil())
			g.Expect(rerr.Reason).To(Equal(tc.reason))
		})
	}
}

func TestEveryTaskOfTheCatalogResolves(t *testing.T) {
	g := NewWithT(t)
	functions, addons := catalogtest.Shipped(t)
	for _, addon := range addons {
		for _, restore := range []bool{false, true} {
			tasks := addon.Spec.BackupTasks
			if restore {
				tasks = addon.Spec.RestoreTasks
			}
			for _, declared := range tasks {
				reference := v1alpha1.TaskReference{
					Name:   declared.Name,
					Params: &apiextensionsv1.JSON{Raw: []byte("{" + catalogtest.NeededParams(declared) + "}")},
				}
				got, _, rerr := catalog.Resolve(addon, func(n string) *v1alpha1.Function { return functions[n] },
					v1alpha1.AddonInfo{
						Name:  addon.Name,
						Tasks: []v1alpha1.TaskReference{reference},
					}, restore, catalogtest.CatalogVariables(addon.Name))
				g.Expect(rerr).To(BeNil(), addon.Name+"/"+declared.Name)
				g.Expect(got.Image).To(BeElementOf("mover:v1", "database:v1"))
				g.Expect(got.Args).NotTo(BeEmpty())
			}
		}
	}
}
