package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

var (
	service    = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "db"}
	secret     = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindSecret, Name: "db"}
	appBinding = v1alpha1.TypedObjectReference{
		APIGroup: v1alpha1.GroupAppBinding, Kind: v1alpha1.KindAppBinding,
		Name: "db",
	}
	cluster  = v1alpha1.TypedObjectReference{APIGroup: v1alpha1.GroupCluster, Kind: v1alpha1.KindCluster, Name: "db"}
	claim    = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"}
	workload = v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
)

func TestTargetsWithoutAnAddon(t *testing.T) {
	for name, tc := range map[string]struct {
		target v1alpha1.TypedObjectReference
		want   string
	}{
		"a claim":                    {claim, "pvc-addon"},
		"a workload":                 {workload, "workload-addon"},
		"a Cluster of CloudNativePG": {cluster, "postgres-addon"},
		"a Service":                  {service, ""},
		"a Secret":                   {secret, ""},
		"an AppBinding":              {appBinding, ""},
		"a Cluster of something else": {
			v1alpha1.TypedObjectReference{APIGroup: "example.com", Kind: v1alpha1.KindCluster, Name: "db"},
			"workload-addon",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(catalog.InferredAddon(tc.target)).To(Equal(tc.want))
			if tc.want == "" {
				g.Expect(catalog.NoAddonMessage(tc.target)).To(And(ContainSubstring(tc.target.Kind+"/db"),
					ContainSubstring("name the Addon, such as postgres-addon")))
			}
		})
	}
}

func TestStreamMistakes(t *testing.T) {
	functions := map[string]*v1alpha1.Function{
		"dump": {Spec: v1alpha1.FunctionSpec{Stream: &v1alpha1.FunctionStream{Command: []string{"dump"}}}}, "copy": {},
		"unpack": {
			Spec: v1alpha1.FunctionSpec{
				Args:   []string{"restore", "--unpack=${directory}"},
				Stream: &v1alpha1.FunctionStream{Command: []string{"unpack"}},
			},
		},
	}
	for name := range functions {
		functions[name].Name = name
	}
	steps := []v1alpha1.TaskStep{{Name: "copy"}, {Name: "dump"}}
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{
		BackupTasks: []v1alpha1.Task{
			{Name: "dump", Function: "dump"},
			{Name: "copy", Function: "copy"},
			{Name: "steps", Steps: steps},
			{Name: "unknown", Function: "absent"},
		},
		RestoreTasks: []v1alpha1.Task{{Name: "load", Function: "dump"}, {Name: "unpack", Function: "unpack"}},
	}}
	addon.Name = "a"
	const login = `{"secretName":"login"}`
	const field = "spec.addon.tasks[0]"
	for name, tc := range map[string]struct {
		task    string
		target  *v1alpha1.TypedObjectReference
		params  string
		volumes bool
		restore bool
		field   string
		reason  string
		says    string
	}{
		"a Service with its credentials": {task: "dump", target: &service, params: login},
		"a Service without its credentials": {
			task: "dump", target: &service, params: `{}`, field: field + ".params",
			reason: v1alpha1.ReasonInvalidParameters, says: `parameter "secretName"`,
		},
		"an AppBinding, which names its credentials": {task: "dump", target: &appBinding, params: `{}`},
		"a Secret":  {task: "dump", target: &secret, params: `{}`},
		"a Cluster": {task: "dump", target: &cluster, params: `{}`},
		"a database and a task for volumes": {
			task: "copy", target: &cluster, params: `{}`, field: field + ".name", reason: v1alpha1.ReasonInvalidTask,
			says: "is for volumes",
		},
		"the last step counts": {task: "steps", target: &service, params: login},
		"a volume and a task for databases": {
			task: "dump", target: &claim, params: `{}`, field: field + ".name", reason: v1alpha1.ReasonInvalidTask,
			says: "is for a database",
		},
		"a workload and a task for databases": {
			task: "steps", target: &workload, params: `{}`, field: field + ".name", reason: v1alpha1.ReasonInvalidTask,
			says: "is for a database",
		},
		"no target and a task for databases": {
			task: "load", restore: true, params: `{}`, field: field + ".name", reason: v1alpha1.ReasonInvalidTask,
			says: "is for a database",
		},
		"a volume and a task for volumes":         {task: "copy", target: &claim, params: `{}`},
		"an unknown Function":                     {task: "unknown", target: &claim, params: `{}`},
		"an unknown task":                         {task: "other", target: &claim, params: `{}`},
		"a program that unpacks":                  {task: "unpack", restore: true, target: &claim, params: `{}`},
		"a program that unpacks into a new claim": {task: "unpack", restore: true, params: `{}`},
		"a program that unpacks into a running server": {
			task: "unpack", restore: true, target: &service, params: login, field: field + ".name",
			reason: v1alpha1.ReasonInvalidTask, says: "is for volumes",
		},
		"volumes of a database": {
			task: "dump", target: &service, params: login, volumes: true, field: field + ".targetVolumes",
			reason: v1alpha1.ReasonResourceValidationFailed, says: "sees none of its volumes",
		},
		"volumes of a volume": {task: "copy", target: &claim, params: `{}`, volumes: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			reference := v1alpha1.TaskReference{Name: tc.task, Params: &apiextensionsv1.JSON{Raw: []byte(tc.params)}}
			if tc.volumes {
				reference.TargetVolumes = &v1alpha1.TargetVolumes{VolumeMounts: []corev1.VolumeMount{{
					Name:      "data",
					MountPath: "/data",
				}}}
			}
			info := &v1alpha1.AddonInfo{Name: "a", Tasks: []v1alpha1.TaskReference{reference}}
			lookup := func(name string) *v1alpha1.Function { return functions[name] }
			mistakes := catalog.StreamMistakes("spec.addon", addon, info, tc.restore, tc.target, lookup)
			if tc.says == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(ConsistOf(And(HaveField("Field", tc.field), HaveField("Reason", tc.reason),
				HaveField("Message", ContainSubstring(tc.says)))))
		})
	}
}

func TestAVariableOfADatabaseIsNotTheMistakeOfAVolume(t *testing.T) {
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{
		{Name: "dump", Function: "dump"}, {Name: "copy", Function: "copy"}, {Name: "wrong", Function: "wrong"},
	}}}
	functions := map[string]*v1alpha1.Function{
		"dump": {Spec: v1alpha1.FunctionSpec{
			Image: "${targetImage}", Stream: &v1alpha1.FunctionStream{Command: []string{"dump"}, FileName: "dump.sql"},
		}},
		"copy": {Spec: v1alpha1.FunctionSpec{Image: "${images}"}},
		"wrong": {Spec: v1alpha1.FunctionSpec{
			Image: "${images}", Stream: &v1alpha1.FunctionStream{Command: []string{"dump"}, FileName: "dump.sql"},
		}},
	}
	unfit := And(HaveField("Field", "spec.addon.tasks[0].name"), HaveField("Reason", v1alpha1.ReasonInvalidTask),
		HaveField("Message", ContainSubstring("is for a database")))
	unknown := func(task string) types.GomegaMatcher {
		return And(HaveField("Field", task), HaveField("Reason", v1alpha1.ReasonInvalidParameters),
			HaveField("Message", ContainSubstring("images")))
	}
	for name, tc := range map[string]struct {
		target *v1alpha1.TypedObjectReference
		tasks  []string
		want   []types.GomegaMatcher
	}{
		"a database": {target: &cluster, tasks: []string{"dump"}},
		"a volume":   {target: &claim, tasks: []string{"dump"}, want: []types.GomegaMatcher{unfit}},
		"a volume, with a variable of another task that nobody defines": {
			target: &claim, tasks: []string{"dump", "copy"}, want: []types.GomegaMatcher{
				unfit, unknown("spec.addon.tasks[1]"),
			},
		},
		"a Service without credentials, with a variable that nobody defines": {
			target: &service, tasks: []string{"wrong"}, want: []types.GomegaMatcher{
				And(HaveField("Field", "spec.addon.tasks[0].params"),
					HaveField("Message", ContainSubstring("secretName"))),
				unknown("spec.addon.tasks[0]"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			info := &v1alpha1.AddonInfo{Name: "a"}
			for _, task := range tc.tasks {
				info.Tasks = append(info.Tasks, v1alpha1.TaskReference{Name: task})
			}
			mistakes := catalog.MistakesOfUse("spec.addon", addon, info, false, tc.target,
				catalog.PlaceholdersOfBackup(tc.target, 1),
				func(name string) *v1alpha1.Function { return functions[name] })
			g := NewWithT(t)
			g.Expect(mistakes).To(HaveLen(len(tc.want)))
			for i, want := range tc.want {
				g.Expect(mistakes[i]).To(want)
			}
		})
	}
}

func TestDatabaseRestoreMistakes(t *testing.T) {
	everything := v1alpha1.RestoreSessionSpec{
		Verify: true, DeleteExtraFiles: true,
		OverwritePolicy: v1alpha1.OverwriteIfNewer, Addon: &v1alpha1.AddonInfo{
			Tasks: []v1alpha1.TaskReference{{Name: "load", TargetVolumes: &v1alpha1.TargetVolumes{}}},
		},
	}
	for name, tc := range map[string]struct {
		target *v1alpha1.TypedObjectReference
		spec   v1alpha1.RestoreSessionSpec
		fields []string
	}{
		"nothing": {target: &service},
		"the policy that confirm implies": {
			target: &service, spec: v1alpha1.RestoreSessionSpec{OverwritePolicy: v1alpha1.OverwriteAlways},
		},
		"a policy that keeps existing data": {
			target: &cluster, spec: v1alpha1.RestoreSessionSpec{OverwritePolicy: v1alpha1.OverwriteNever},
			fields: []string{"overwritePolicy"},
		},
		"everything": {
			target: &secret, spec: everything, fields: []string{
				"verify", "deleteExtraFiles", "overwritePolicy", "addon.tasks[0].targetVolumes",
			},
		},
		"everything, into a volume":                       {target: &claim, spec: everything},
		"everything, into a claim that the restore makes": {spec: everything},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.spec.Target = tc.target
			var fields []string
			for _, m := range catalog.DatabaseRestoreMistakes("spec", &tc.spec) {
				g.Expect(m.Reason).To(Equal(v1alpha1.ReasonResourceValidationFailed))
				fields = append(fields, m.Field[len("spec."):])
			}
			g.Expect(fields).To(Equal(tc.fields))
		})
	}
}
