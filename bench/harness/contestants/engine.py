"""The embedded engine, asked through Podium and directly. (placeholder until CLI)"""

ENGINE_MODEL = "smollm2"
