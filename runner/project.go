package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// composeFiles are the names that Compose looks for, in its order.
var composeFiles = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

var (
	composeName  = regexp.MustCompile(`(?m)^name:[ \t]*["']?([a-z0-9][a-z0-9_-]*)["']?[ \t]*(?:#.*)?$`)
	notInProject = regexp.MustCompile(`[^a-z0-9_-]`)
)

// projectOf is the Compose project of a folder, as Compose names it: by
// COMPOSE_PROJECT_NAME, by "name:" in the Compose file, else after the folder.
// Empty where the folder has no Compose file: then targets may be of any
// project, as long as that is not ambiguous.
func projectOf(dir, fromEnvironment string) string {
	if fromEnvironment != "" {
		return fromEnvironment
	}
	for _, name := range composeFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if m := composeName.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return ""
		}
		base := notInProject.ReplaceAllString(strings.ToLower(filepath.Base(abs)), "")
		return strings.TrimLeft(base, "_-")
	}
	return ""
}
