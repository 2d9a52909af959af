package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

// TestLimitsOfListsAreDocumented compares the page of limits with what the API server refuses. Tests of internal/build
// and internal/workload compare it with the limits in code.
func TestLimitsOfListsAreDocumented(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("reference/limits.md")
	g.Expect(err).NotTo(HaveOccurred())
	for row, fields := range map[string][]string{
		"entries of a BackupBatch, and of one of its sessions | 500": {
			"backupbatches spec.targets 500", "backupbatches spec.sessions[].targets 500",
		},
		"targets of a RestoreBatch | 500":                {"restorebatches spec.targets 500"},
		"workloads that a RestoreBatch scales down | 32": {"restorebatches spec.scaleDown 32"},
		"sessions of a policy | 16": {
			"backupconfigurations spec.sessions 16", "backupbatches spec.sessions 16",
		},
		"targets of a session, what selectors find":       {"backupsessions status.targets 500"},
		"targets of a BackupBatch, what selectors find":   {"backupbatches status.targets 1000"},
		"100 where nothing is said, 500 at most | the ma": {"backupbatches spec.targets[].selector.maxTargets 500"},
	} {
		g.Expect(string(page)).To(ContainSubstring(row))
		for _, field := range fields {
			words := strings.Fields(field)
			g.Expect(most(t, words[0], words[1])).To(Equal(words[2]), field)
		}
	}
}

// most returns how many entries a field of a kind can have, or how large its number can be. A list ends with [].
func most(t *testing.T, kinds, path string) string {
	t.Helper()
	raw, err := os.ReadFile("../config/crd/bases/backup.cairn.dev_" + kinds + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		t.Fatal(err)
	}
	at := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	for part := range strings.SplitSeq(path, ".") {
		name, list := strings.CutSuffix(part, "[]")
		properties, _ := at["properties"].(map[string]any)
		at, _ = properties[name].(map[string]any)
		if list {
			at, _ = at["items"].(map[string]any)
		}
	}
	if items, ok := at["maxItems"]; ok {
		return fmt.Sprint(items)
	}
	return fmt.Sprint(at["maximum"])
}
