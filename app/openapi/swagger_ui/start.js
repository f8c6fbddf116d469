// Ours; the rest of this folder but index.html is Swagger UI as it was published.
SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null, // nobody elsewhere is asked
});
