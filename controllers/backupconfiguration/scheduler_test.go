package backupconfiguration

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Every field of KubeStash's SchedulerSpec works, or the API server refuses it with a message that says why.
func TestSchedulersAsKubeStashHasThem(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, nil)
	tests := map[string]struct{ scheduler, refused string }{
		"no template":       {`{"schedule": "0 2 * * *"}`, ""},
		"an empty template": {`{"schedule": "0 2 * * *", "jobTemplate": {}}`, ""},
		"as Go writes an empty one": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"controller": {}, "metadata": {}, "spec": {"resources": {}}}}}`, "",
		},
		"as the samples have it": {`{"schedule": "*/5 * * * *", "jobTemplate": {"backoffLimit": 1}}`, ""},
		"every field that works": {
			`{"schedule": "H H(0-6) * * *", "timeZone": "Europe/Berlin", "type": "Controller", "startingDeadlineSeconds": 60, "concurrencyPolicy": "Replace", "suspend": true, "successfulJobsHistoryLimit": 5, "failedJobsHistoryLimit": 0, "jobTemplate": {"parallelism": 1, "completions": 1, "completionMode": "NonIndexed", "suspend": false, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 5, "template": {"spec": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "imagePullSecrets": [{"name": "x"}]}}}}`, "",
		},
		"another type": {
			`{"schedule": "0 2 * * *", "type": "Systemd"}`,
			`supported values: "CronJob", "Controller"`,
		},
		"another concurrencyPolicy": {
			`{"schedule": "0 2 * * *", "concurrencyPolicy": "Queue"}`,
			`supported values: "Allow", "Forbid", "Replace"`,
		},
		"two pods at a time": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"parallelism": 2}}`,
			"parallelism must be 1: a slot has one run",
		},
		"two pods": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"completions": 2}}`,
			"completions must be 1: a slot has one run",
		},
		"indexed pods": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"completionMode": "Indexed"}}`,
			"completionMode must be NonIndexed",
		},
		"a Job that never starts": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"suspend": true}}`,
			"set scheduler.suspend",
		},
		"another account": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"serviceAccountName": "admin"}}}}`,
			"serviceAccountName can't be set",
		},
		"volumes": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}}}}`,
			"volumes can't be set",
		},
		"an environment": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"env": [{"name": "x"}]}}}}`,
			"env can't be set",
		},
		"arguments": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"args": ["x"]}}}}`,
			"args can't be set",
		},
		"init containers": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"initContainers": [{"name": "x"}]}}}}`,
			"use a hook of the session",
		},
		"a security context": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"securityContext": {"runAsUser": 0}}}}}`,
			"should be greater than or equal to 1",
		},
		"the container's": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"containerSecurityContext": {"privileged": true}}}}}`, "containerSecurityContext can't be set",
		},
		"affinity": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"affinity": {"nodeAffinity": {}}}}}}`, "",
		},
		"the host's network": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"hostNetwork": true}}}}`,
			"hostNetwork can't be set",
		},
		"a label of ours": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"metadata": {"labels": {"backup.cairn.dev/session": "x"}}}}}`, "are reserved for Cairn and Kubernetes",
		},
		"an annotation of ours": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"controller": {"annotations": {"backup.cairn.dev/task": "x"}}}}}`, "are reserved for Cairn",
		},
		"an unknown field": {
			`{"schedule": "0 2 * * *", "jobTemplate": {"template": {"spec": {"hostname": "x"}}}}`,
			`unknown field "spec.sessions[0].scheduler.jobTemplate.template.spec.hostname"`,
		},
		"a deadline that is too short": {
			`{"schedule": "0 2 * * *", "startingDeadlineSeconds": 1}`,
			"greater than or equal to 10",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(configurationOf(namespace))
			g.Expect(err).NotTo(HaveOccurred())
			object := &unstructured.Unstructured{Object: content}
			object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.BackupConfigurationKind))
			unstructured.RemoveNestedField(object.Object, "status")
			var scheduler map[string]any
			g.Expect(json.Unmarshal([]byte(test.scheduler), &scheduler)).To(Succeed())
			sessions, _, err := unstructured.NestedSlice(object.Object, "spec", "sessions")
			g.Expect(err).NotTo(HaveOccurred())
			session, ok := sessions[0].(map[string]any)
			g.Expect(ok).To(BeTrue())
			session["scheduler"] = integers(scheduler)
			g.Expect(unstructured.SetNestedSlice(object.Object, sessions, "spec", "sessions")).To(Succeed())
			err = bed.Client.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict"))
			if test.refused == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(test.refused)))
			g.Expect(apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)).To(BeTrue())
		})
	}
}

// integers converts the numbers of decoded JSON to the types that an unstructured object holds.
func integers(in any) any {
	switch v := in.(type) {
	case float64:
		return int64(v)
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	}
	return in
}
