// The index of the search is built in a worker from a blob; the policy of the page allows that and nothing from elsewhere.
Redoc.init("openapi.json", { hideDownloadButton: false, nativeScrollbars: true }, document.getElementById("redoc"));
