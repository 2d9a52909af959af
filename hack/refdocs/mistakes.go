package main

import (
	"fmt"
	"strings"
)

// storage and configuration are a valid policy. The mistakes are changes of it.
const storage = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata:
  name: local
spec:
  storage:
    provider: local
    local:
      persistentVolumeClaim: {claimName: backups}
`

const configuration = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata:
  name: uploads
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends:
  - name: main
    storageRef: {name: local}
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories:
    - name: uploads
      backend: main
      directory: /uploads
      encryptionSecret: {name: enc}
`

const batch = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata:
  name: shop
spec:
  backends:
  - name: main
    storageRef: {name: local}
  targets:
  - {name: web, appRef: {kind: PersistentVolumeClaim, name: web}}
  - {name: web, appRef: {kind: PersistentVolumeClaim, name: web2}}
  sessions:
  - name: nightly
    targets:
    - name: web
      addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: web, backend: main, directory: /web, encryptionSecret: {name: enc}}]
`

const (
	storageFile       = "policy/storage.yaml"
	configurationFile = "policy/uploads.yaml"
	kustomizationFile = "policy/kustomization.yaml"
)

// changed returns the valid policy with one change in the configuration.
func changed(what, from, to string) mistake {
	if !strings.Contains(configuration, from) {
		panic(fmt.Sprintf("the configuration does not contain %q, which %q changes", from, what))
	}
	return mistake{what: what, files: map[string]string{
		storageFile: storage, configurationFile: strings.Replace(configuration, from, to, 1),
	}}
}

// only returns a policy of one file.
func only(what, file, content string) mistake {
	return mistake{what: what, files: map[string]string{file: content}}
}

func warned(m mistake) mistake {
	m.warning = true
	return m
}

// mistakes returns all mistakes in the order of the page.
func mistakes() []mistake {
	var out []mistake
	out = append(out, inFiles()...)
	out = append(out, inYAML()...)
	out = append(out, inFields()...)
	out = append(out, inKustomizations()...)
	return append(out, inMeaning()...)
}

// inFiles returns mistakes that are found before a file is parsed as YAML.
func inFiles() []mistake {
	utf16 := "\xff\xfe"
	for _, c := range []byte(storage) {
		utf16 += string([]byte{c, 0})
	}
	return []mistake{
		{what: "Missing path", path: "nowhere", files: map[string]string{storageFile: storage}},
		only("Empty directory", "policy/README.md", "Nothing here yet.\n"),
		only("Symbolic link out of the repository", storageFile, "-> ../../outside.yaml"),
		only("Binary file", storageFile, "kind: x\n\x7fELF\x00\x01\x02\xfe"),
		only("UTF-16 file", storageFile, utf16),
		only("File of 11 MiB", storageFile, "#"+strings.Repeat("x", 11<<20)),
		only("Merge conflict markers", storageFile, storage+"<<<<<<< HEAD\n  a: b\n=======\n  a: c\n>>>>>>> main\n"),
	}
}

// inYAML returns files that are not YAML, or dangerous YAML.
func inYAML() []mistake {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'k'; i++ {
		previous := "*" + string(i-1)
		bomb += string(i) + ": &" + string(i) + " [" + strings.Repeat(previous+", ", 9) + previous + "]\n"
	}
	return []mistake{
		only("Broken YAML", storageFile, storage+"  broken: [\n"),
		changed("Duplicate key", "spec:\n", "spec:\n  target: {name: x}\n"),
		only("Alias bomb", storageFile, bomb),
	}
}

// inFields returns objects that their schema refuses.
func inFields() []mistake {
	return []mistake{
		changed("Unknown field", "scheduler:", "scheduel:"),
		changed("Wrong type", `"0 2 * * *"`, "5"),
		changed("Target without its apiGroup", "kind: PersistentVolumeClaim", "kind: Deployment"),
		changed("Missing field", `schedule: "0 2 * * *"`, `timeZone: "UTC"`),
		only("Value that is not allowed", storageFile,
			strings.Replace(storage, "provider: local", "provider: floppy", 1)),
		changed("Unknown kind", "kind: BackupConfiguration", "kind: BackupConfig"),
		only("Kind that is not policy", "policy/web.yaml",
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"),
		only("Kind that needs spec.serviceAccountName", "policy/secret.yaml",
			"apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\n"),
		only("Kind that never comes from Git", "policy/run.yaml",
			"apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupSession\nmetadata: {name: run}\n"),
		changed("KubeStash apiVersion", "backup.cairn.dev/v1alpha1", "core.kubestash.com/v1alpha1"),
		changed("Stash apiVersion", "backup.cairn.dev/v1alpha1", "stash.appscode.com/v1beta1"),
	}
}

// inKustomizations returns kustomizations that would run a program or leave the repository.
func inKustomizations() []mistake {
	return []mistake{
		only("Remote base", kustomizationFile, "resources:\n- github.com/org/repo//base?ref=main\n"),
		only("HTTP resource", kustomizationFile, "resources:\n- https://host.example/x.yaml\n"),
		only("Base outside of the repository", kustomizationFile, "resources:\n- ../../other\n"),
		only("Missing resource", kustomizationFile, "resources:\n- storage.yaml\n"),
		only("Helm chart", kustomizationFile, "helmCharts:\n- name: x\n  repo: https://host.example\n"),
	}
}

// inMeaning returns sets of objects that can't work together.
func inMeaning() []mistake {
	other := strings.NewReplacer("name: uploads", "name: other", "directory: /uploads", "directory: uploads/").
		Replace(configuration)
	return []mistake{
		{what: "Duplicate object in two files", files: map[string]string{
			storageFile: storage, "policy/more/storage.yaml": storage,
		}},
		changed("Schedule that does not parse", "0 2 * * *", "0 25 * * *"),
		changed("Schedule that never fires", "0 2 * * *", "0 0 30 2 *"),
		{what: "Two repositories in one directory", files: map[string]string{
			storageFile: storage, configurationFile: configuration, "policy/other.yaml": other,
		}},
		{what: "Batch with two targets of one name", files: map[string]string{
			storageFile: storage, "policy/batch.yaml": batch,
		}},
		changed("Backend that the policy does not have", "      backend: main\n", "      backend: offsite\n"),
		{what: "Target that the batch does not have", files: map[string]string{
			storageFile: storage,
			"policy/batch.yaml": strings.NewReplacer("name: web, appRef: {kind: PersistentVolumeClaim, name: web2}",
				"name: data, appRef: {kind: PersistentVolumeClaim, name: data}",
				"    - name: web\n", "    - name: wbe\n").Replace(batch),
		}},
		changed("Task that the Addon does not have", "{name: logical-backup}", "{name: physical-backup}"),
		warned(changed("Addon that may not exist", "name: pvc-addon", "name: pcv-addon")),
		warned(changed("Storage that may not exist", "storageRef: {name: local}", "storageRef: {name: lokal}")),
	}
}
