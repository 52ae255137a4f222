//go:build race

package cage

const raceBuild = true
